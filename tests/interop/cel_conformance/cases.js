// Writes the conformance cases of CEL to standard output, one JSON object a line: name, expr, check, variables with
// types, bindings, and what is expected: value, error or type. What no rule can use has `out_of_scope`, the reason.
import { tests } from "@bufbuild/cel-spec/testdata/conformance.js";

// Whole suites of libraries, syntax or messages that rules do not have.
const OUT_OF_SCOPE = {
  bindings_ext: "extension library",
  block_ext: "extension library",
  encoders_ext: "extension library",
  math_ext: "extension library",
  network_ext: "extension library",
  string_ext: "extension library",
  macros2: "macros with two variables",
  optionals: "optional values",
  dynamic: "protobuf messages",
  enums: "protobuf messages",
  proto2: "protobuf messages",
  proto2_ext: "protobuf messages",
  proto3: "protobuf messages",
  wrappers: "protobuf messages",
};

function reasonAgainst(suite, test) {
  if (OUT_OF_SCOPE[suite]) return OUT_OF_SCOPE[suite];
  const around = JSON.stringify([test.value, test.bindings, test.typeEnv, test.typedResult]);
  if (/TestAllTypes|google\.protobuf\.\w+ *\{/.test(test.expr + around)) return "protobuf messages";
  if (/"(wrapper|abstractType)":/.test(around)) return "protobuf messages";
  if (/"function":/.test(around)) return "functions of the caller";
  if (test.container || (test.typeEnv ?? []).some((declared) => declared.name.includes("."))) return "namespaces";
  if (/optional[._]/.test(test.expr)) return "optional values";
  return undefined;
}

function write(suite, path, test) {
  const bindings = Object.entries(test.bindings ?? {}).map(([name, bound]) => [name, bound.value]);
  console.log(
    JSON.stringify({
      name: `${path}/${test.name}`,
      expr: test.expr,
      check: !test.disableCheck,
      run: !test.checkOnly,
      variables: (test.typeEnv ?? []).map((declared) => ({ name: declared.name, type: declared.ident?.type })),
      bindings: Object.fromEntries(bindings),
      value: test.value ?? test.typedResult?.result,
      error: test.evalError !== undefined,
      type: test.typedResult?.deducedType,
      out_of_scope: reasonAgainst(suite, test),
    }),
  );
}

function walk(suite, node, path) {
  for (const test of node.tests ?? []) write(suite, path, test.original);
  for (const child of node.suites ?? []) walk(suite, child, `${path}/${child.name}`);
}

for (const suite of tests.suites) walk(suite.name, suite, suite.name);
