// The public conformance cases of CEL, from the npm package of another implementation, against the one of rules.
#include <google/protobuf/util/json_util.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "engine/cel/functions.h"
#include "engine/cel/parser.h"
#include "engine/cel/program.h"
#include "tests/examples/install.h"
#include "tests/support/program.h"
#include "tests/support/test_main.h"

namespace headgate::engine::cel {
namespace {

using namespace std::chrono_literals;
using nlohmann::json;
using testing::Installed;
using testing::Process;
using testing::TempFolder;

// Where cel-go, and so Permify, answers otherwise than the specification; rules follow cel-go.
const std::map<std::string, std::string> kLikeCelGo = {
    {"timestamps/duration_converters/get_milliseconds",
     "the whole duration in milliseconds, not what is below a second"}};

std::string unbase64(const std::string& text) {
  std::string bytes;
  absl::Base64Unescape(text, &bytes);
  return bytes;
}

double to_double(const json& value) {
  if (value.is_number()) return value.get<double>();
  return value == "NaN" ? std::nan("") : value == "Infinity" ? INFINITY : -INFINITY;
}

Value to_value(const json& value, Heap& heap);

Value to_list(const json& value, Heap& heap) {
  const json items = value.value("values", json::array());
  Value* elements = heap.values(items.size());
  for (size_t i = 0; i < items.size(); ++i) elements[i] = to_value(items[i], heap);
  return Value::list({elements, items.size()});
}

Value to_map(const json& value, Heap& heap) {
  const json items = value.value("entries", json::array());
  MapEntry* entries = heap.entries(items.size());
  for (size_t i = 0; i < items.size(); ++i) {
    entries[i] = {to_value(items[i]["key"], heap), to_value(items[i]["value"], heap)};
  }
  std::sort(entries, entries + items.size(),
            [](const MapEntry& a, const MapEntry& b) { return order_of_keys(a.key, b.key) < 0; });
  return Value::map({entries, items.size()});
}

Value to_time(const json& object) {
  const std::string text = object["value"];
  if (object["@type"] == "type.googleapis.com/google.protobuf.Duration") return Value::duration(*parse_duration(text));
  return *parse_timestamp(text);
}

// A cel.expr.Value as JSON.
Value to_value(const json& value, Heap& heap) {
  const std::string kind = value.begin().key();
  const json& inner = value.begin().value();
  if (kind == "boolValue") return Value::of(inner.get<bool>());
  if (kind == "int64Value") return Value::of(int64_t{std::stoll(inner.get<std::string>())});
  if (kind == "uint64Value") return Value::of(uint64_t{std::stoull(inner.get<std::string>())});
  if (kind == "doubleValue") return Value::of(to_double(inner));
  if (kind == "stringValue") return heap.text(inner.get<std::string>());
  if (kind == "bytesValue") return heap.text(unbase64(inner), ValueKind::kBytes);
  if (kind == "listValue") return to_list(inner, heap);
  if (kind == "mapValue") return to_map(inner, heap);
  if (kind == "typeValue") return Value::type(heap.text(inner.get<std::string>()).text());
  if (kind == "objectValue") return to_time(inner);
  REQUIRE(kind == "nullValue");
  return Value::null();
}

// Unlike ==: of the same kind, and NaN is itself.
bool are_same(const Value& a, const Value& b, Heap& heap) {
  if (a.kind() != b.kind()) return false;
  if (a.is(ValueKind::kDouble)) return a.real() == b.real() || (std::isnan(a.real()) && std::isnan(b.real()));
  if (!a.is(ValueKind::kList)) return equal(a, b, heap);
  for (size_t i = 0; a.size() == b.size() && i < a.size(); ++i) {
    if (!are_same(a.at(i), b.at(i), heap)) return false;
  }
  return a.size() == b.size();
}

Type to_type(const json& type) {
  Type message;
  REQUIRE(google::protobuf::util::JsonStringToMessage(type.dump(), &message).ok());
  return message;
}

struct Compiled {
  std::shared_ptr<const Program> program;
  std::string problem;
  std::string type;
};

Compiled compile_case(const json& test, const std::vector<std::string>& names) {
  const std::string text = test["expr"];
  Compiled out;
  if (!test["check"]) {
    Parser parser(text);
    const auto parsed = parser.parse();
    if (!parsed) return {nullptr, parser.problem().text, ""};
    out.program = *Program::make(*parsed, names);
    return out;
  }
  std::vector<Variable> variables;
  for (const json& variable : test["variables"]) variables.push_back({variable["name"], to_type(variable["type"])});
  Problem problem;
  const auto checked = compile(text, variables, problem);
  if (!checked) return {nullptr, problem.text, ""};
  return {*Program::make(checked->expr(), names), "", describe(result_type(*checked))};
}

// "" or what is wrong.
std::string run_case(const json& test) {
  Heap heap;
  std::vector<std::string> names;
  std::vector<Value> values;
  for (const auto& [name, value] : test["bindings"].items()) {
    names.push_back(name);
    values.push_back(to_value(value, heap));
  }
  for (const json& variable : test["variables"]) {
    if (!test["bindings"].contains(variable["name"])) names.push_back(variable["name"]);
  }
  values.resize(names.size());
  const bool wants_error = test["error"];
  const Compiled compiled = compile_case(test, names);
  if (compiled.program == nullptr) return wants_error ? "" : "refused: " + compiled.problem;
  if (test.contains("type")) {
    const std::string wanted = describe(to_type(test["type"]));
    if (compiled.type != wanted) return "is of type " + compiled.type + ", not " + wanted;
  }
  if (!test["run"]) return "";
  const Value result = compiled.program->run(values, heap);
  if (wants_error) return result.is_error() ? "" : "gives " + describe(result) + " and no error";
  const Value wanted = test.contains("value") ? to_value(test["value"], heap) : Value::of(true);
  if (are_same(result, wanted, heap)) return "";
  return "gives " + describe(result) + ", not " + describe(wanted);
}

struct Counts {
  int passed = 0;
  int like_cel_go = 0;
  std::map<std::string, int> out_of_scope;
};

void check_case(const json& test, Counts& counts) {
  if (test.contains("out_of_scope")) {
    ++counts.out_of_scope[test["out_of_scope"]];
    return;
  }
  const std::string name = test["name"];
  const std::string wrong = run_case(test);
  if (kLikeCelGo.count(name) == 1) {
    CHECK_MESSAGE(wrong != "", name, " is as specified: take it off the list");
    ++counts.like_cel_go;
    return;
  }
  CHECK_MESSAGE(wrong == "", name, ": ", test["expr"].get<std::string>(), ": ", wrong);
  if (wrong.empty()) ++counts.passed;
}

}  // namespace

TEST_SUITE("interop/cel_conformance") {
  TEST_CASE("cel: rules evaluate as the conformance cases of CEL say") {
    const Installed cases = testing::install_node("tests/interop/cel_conformance", "cases.js");
    if (cases.command.empty()) HG_SKIP(cases.missing);
    const TempFolder folder;
    Process node({.argv = cases.command, .log_file = folder.path() + "/cases"});
    REQUIRE_MESSAGE((node.wait(60s) && node.exit_code() == 0), testing::read_file(folder.path() + "/cases"));
    std::ifstream lines(folder.path() + "/cases");
    Counts counts;
    for (std::string line; std::getline(lines, line);) check_case(json::parse(line), counts);
    std::string report = fmt::format("{} cases pass, {} are as in cel-go", counts.passed, counts.like_cel_go);
    for (const auto& [reason, count] : counts.out_of_scope) report += fmt::format(", {} {}", count, reason);
    MESSAGE(report);
    CHECK(counts.passed + counts.like_cel_go == 1088);
    testing::used_server("@bufbuild/cel-spec 0.6.1");
  }
}

}  // namespace headgate::engine::cel
