// What expressions give, with the variables of tests/support/cel_variables.h.
#include <google/protobuf/util/json_util.h>

#include "engine/cel/parser.h"
#include "engine/cel/program.h"
#include "tests/support/cel_variables.h"
#include "tests/support/test_main.h"

namespace headgate::engine::cel {
namespace {

struct Evaluated {
  const char* text;
  const char* result;  // as describe() writes it
};

// The request data of all cases.
const google::protobuf::Struct& request_data() {
  static const google::protobuf::Struct data = [] {
    google::protobuf::Struct made;
    const std::string json = R"({"text": "a b", "n": 5, "half": 0.5, "yes": true, "no": null, "list": [1, "x", [2]],
                                 "map": {"b": 1, "a": {"c": "d"}}, "zone": "Europe/Berlin"})";
    HG_CHECK(google::protobuf::util::JsonStringToMessage(json, &made).ok());
    return made;
  }();
  return data;
}

// n = 3, ns = [1, 2, 3], s = 'héllo', ss = ['a', 'b'], b = true, bs = [], d = 1.5, ds = [0.5].
std::vector<Value> values_of(const std::vector<std::string>& names, Heap& heap) {
  Value* items = heap.values(6);
  for (int64_t i = 0; i < 3; ++i) items[i] = Value::of(i + 1);
  items[3] = Value::text("a");
  items[4] = Value::text("b");
  items[5] = Value::of(0.5);
  MapEntry* context = heap.entries(1);
  context[0] = {Value::text("data"), Value::map(request_data())};
  const std::map<std::string, Value> all{{"context", Value::map({context, 1})},
                                         {"n", Value::of(int64_t{3})},
                                         {"ns", Value::list({items, 3})},
                                         {"s", Value::text("héllo")},
                                         {"ss", Value::list({items + 3, 2})},
                                         {"b", Value::of(true)},
                                         {"bs", Value::list(std::span<const Value>())},
                                         {"d", Value::of(1.5)},
                                         {"ds", Value::list({items + 5, 1})}};
  std::vector<Value> values;
  for (const std::string& name : names) values.push_back(all.at(name));
  return values;
}

std::string evaluate(std::string_view text, const Limits& limits = {}) {
  const auto variables = testing::cel_variables();
  std::vector<std::string> names;
  for (const Variable& variable : variables) names.push_back(variable.name);
  Problem problem;
  const auto checked = compile(text, variables, problem);
  if (!checked) return "refused: " + problem.text;
  const auto program = Program::make(checked->expr(), names);
  REQUIRE(program.ok());
  Heap bound;
  const auto values = values_of(names, bound);
  Heap heap(limits);
  return describe((*program)->run(values, heap));
}

void check_all(std::initializer_list<Evaluated> cases) {
  for (const Evaluated& each : cases) CHECK_MESSAGE(evaluate(each.text) == each.result, std::string(each.text));
}

}  // namespace

TEST_SUITE("engine/cel") {
  TEST_CASE("evaluate: arithmetic keeps to its type and tells when it overflows") {
    check_all({{"1 + 2 * 3 - 4 / 2 % 2", "7"},
               {"-7 / 2", "-3"},
               {"-7 % 2", "-1"},
               {"7u / 2u", "3u"},
               {"0.1 + 0.2 == 0.3", "false"},
               {"1.0 / 0.0", "inf"},
               {"1 / 0", "error: division by zero"},
               {"1 % 0", "error: modulus by zero"},
               {"9223372036854775807 + 1", "error: integer overflow"},
               {"-9223372036854775808 / -1", "error: integer overflow"},
               {"-(-9223372036854775807 - 1)", "error: integer overflow"},
               {"0u - 1u", "error: unsigned integer overflow"},
               {"dyn(1) + 1u", "error: no such overload: +(int, uint)"}});
  }

  TEST_CASE("evaluate: numbers compare across their types") {
    check_all({{"dyn(1) == 1.0 && dyn(1u) == 1 && dyn(1) != 1.5", "true"},
               {"dyn(9007199254740993) == 9007199254740992.0", "true"},
               {"dyn(9007199254740992.0) in {9007199254740993: 1}", "false"},
               {"dyn(18446744073709551615u) > 18446744073709551615.0", "false"},
               {"dyn(-1) < 0u", "true"},
               {"dyn(9223372036854775807) < 9223372036854775808.0", "false"},
               {"context.data.n == 5 && context.data.n in [5u]", "true"},
               {"dyn('1') == 1", "false"},
               {"dyn(0.0 / 0.0) == 0.0 / 0.0", "false"},
               {"dyn('a') < 1", "error: no such overload: <(string, int)"}});
  }

  TEST_CASE("evaluate: the side that decides makes up for an error on the other") {
    check_all({{"1 / 0 == 1 || true", "true"},
               {"true || 1 / 0 == 1", "true"},
               {"1 / 0 == 1 && false", "false"},
               {"1 / 0 == 1 || false", "error: division by zero"},
               {"true && 1 / 0 == 1", "error: division by zero"},
               {"false ? 1 / 0 == 1 : b", "true"},
               {"1 / 0 == 1 ? true : true", "error: division by zero"},
               {"context.data.n || true", "true"},
               {"context.data.n || false", "error: no such overload: ||(double)"},
               {"[1, 0].exists(x, 1 / x == 1)", "true"},
               {"[0, 1].exists(x, 1 / x == 1)", "true"},
               {"[0, 1].all(x, 1 / x == 2)", "false"},
               {"[0, 1].all(x, 1 / x == 1)", "error: division by zero"},
               {"[0, 1].exists_one(x, 1 / x == 1)", "error: division by zero"}});
  }

  TEST_CASE("evaluate: lists, maps and the data of a request") {
    check_all({{"n in ns && !('c' in ss)", "true"},
               {"ns + [4] == [1, 2, 3, 4]", "true"},
               {"ns[2] + ns[0]", "4"},
               {"ns[3]", "error: index out of bounds: 3"},
               {"ns[-1]", "error: index out of bounds: -1"},
               {"{'a': 1, 2: 'b', true: null}[2u]", "'b'"},
               {"{'a': 1}.b", "error: no such key: b"},
               {"{'a': 1, 'a': 2}", "error: the key 'a' stands twice in a map"},
               {"{1.5: 1}", "error: unsupported key type: double"},
               {"context.data.map.a.c", "'d'"},
               {"context.data.list[2][0]", "2"},
               {"context.data.list == [1, 'x', [2]]", "true"},
               {"context.data.map == {'a': {'c': 'd'}, 'b': 1}", "true"},
               {"context.data.nobody", "error: no such key: nobody"},
               {"context.data.text.x", "error: no such overload: .(string)"},
               {"has(context.data.no) && !has(context.data.nobody)", "true"},
               {"context.data.map.map(k, k)", "['a', 'b']"},
               {"'a' in context.data.map && !(1 in context.data.map)", "true"},
               {"size(context.data) + size(context.data.list)", "11"}});
  }

  TEST_CASE("evaluate: macros") {
    check_all({{"ns.map(x, x * x).filter(x, x > 1)", "[4, 9]"},
               {"ns.map(x, x > 1, x + 1)", "[3, 4]"},
               {"ns.exists_one(x, x == 2)", "true"},
               {"ns.all(x, ns.exists(y, y == x)) && bs.all(x, x)", "true"},
               {"ns.map(x, ns.map(y, x * y)).map(x, x[0])", "[1, 2, 3]"},
               {"{'b': 1, 'a': 2}.map(k, k)", "['a', 'b']"},
               {"ns.filter(n, n > 1 && .n == 3)", "[2, 3]"},
               {"[1].all(a, [2].all(b, [3].all(c, [4].all(d, [5].all(e, [6].all(f, [7].all(g, [8].all(h, "
                "[9].all(i, a + b + c + d + e + f + g + h + i == 45)))))))))",
                "true"}});
  }

  TEST_CASE("evaluate: texts") {
    check_all({{"size(s) + size(b'\\xff\\x00') + s.size()", "12"},
               {"s.contains('éll') && s.startsWith('h') && s.endsWith('o') && s.contains('')", "true"},
               {"s.matches('^h.l+o$') && !s.matches('^l') && matches(s, 'l')", "true"},
               {"s.matches('(')", "error: this pattern cannot be used: missing ): ("},
               {"s.matches(context.data.text)", "false"},
               {"'a' < 'b' && 'a' + 'b' == 'ab' && b'a' + b'b' == b'ab'", "true"},
               {"string(b'\\xff')", "error: invalid UTF-8 in bytes, cannot convert to string"}});
  }

  TEST_CASE("evaluate: conversions") {
    check_all({{"int('-42') + int(3.9) + int(2u)", "-37"},
               {"int('4 2')", "error: '4 2' cannot be converted to int"},
               {"int(9223372036854775808.0)", "error: 9.223372036854776e+18 is out of the range of int"},
               {"uint(-1)", "error: -1 is out of the range of uint"},
               {"string(1e6) + ' ' + string(0.1) + ' ' + string(123456.0) + ' ' + string(-1.0 / 0.0)",
                "'1e+06 0.1 123456 -Inf'"},
               {"double('1e400')", "error: '1e400' cannot be converted to double"},
               {"double('1e-400')", "0"},
               {"bool('T') && !bool('0')", "true"},
               {"type(ns) == list && type(context.data) == map && type(type(1)) == type", "true"},
               {"type(timestamp(0)) == google.protobuf.Timestamp", "true"}});
  }

  TEST_CASE("evaluate: timestamps and durations") {
    check_all({{"string(timestamp('2024-02-29T23:59:59.120+02:00'))", "'2024-02-29T21:59:59.12Z'"},
               {"timestamp('2023-02-29T00:00:00Z')",
                "error: '2023-02-29T00:00:00Z' cannot be converted to timestamp, as in 2024-01-31T23:59:59Z"},
               {"timestamp(0) + duration('1h30m') > timestamp(5399)", "true"},
               {"string(timestamp(90) - timestamp(0)) + string(duration('-1.5s'))", "'90s-1.5s'"},
               {"timestamp('9999-12-31T23:59:59Z') + duration('1s')",
                "error: timestamp overflow: it is not within the years 1 to 9999"},
               {"duration('290y')", "error: '290y' cannot be converted to duration, as in 1h30m or 2.5s"},
               {"duration('2562047h') + duration('2562047h')",
                "error: duration overflow: it does not fit into 64 bits of nanoseconds"},
               {"timestamp('2024-12-31T23:30:00Z').getFullYear()", "2024"},
               {"timestamp('2024-12-31T23:30:00Z').getFullYear(context.data.zone)", "2025"},
               {"timestamp('2024-12-31T23:30:00Z').getDayOfYear('-02:00')", "365"},
               {"timestamp(0).getDayOfWeek() * 100 + timestamp(0).getDate() * 10 + timestamp(0).getMonth()", "410"},
               {"duration('3661s').getMinutes()", "61"},
               {"timestamp(0).getHours('../../../etc/passwd')", "error: there is no time zone '../../../etc/passwd'"},
               {"timestamp(0).getHours('Europe//Berlin')", "error: there is no time zone 'Europe//Berlin'"},
               {"timestamp(0).getHours('Nowhere/City')", "error: there is no time zone 'Nowhere/City'"}});
  }

  TEST_CASE("evaluate: nothing is absorbed that no limit allows") {
    const std::string loops = "ns.all(a, ns.all(b, ns.all(c, ns.all(d, ns.all(e, ns.all(f, ns.all(g, true)))))))";
    CHECK(evaluate(loops) == "true");
    CHECK(evaluate(loops, {.steps_max = 1000}) == "error: the expression takes too many steps");
    CHECK(evaluate(loops + " || true", {.steps_max = 1000}) == "error: the expression takes too many steps");
    CHECK(evaluate("true || true", {.deadline = std::chrono::steady_clock::now() - std::chrono::seconds(1)}) ==
          "error: the time for the expression is over");
  }

  TEST_CASE("evaluate: an expression that doubles ends at its memory or its steps") {
    std::string text = "['0123456789abcdef']";
    std::string lists = "[[1]]";
    for (int i = 0; i < 100; ++i) {
      text += ".map(x, x + x)";
      lists += ".map(x, x + x)";
    }
    CHECK(evaluate(text) == "error: the expression makes texts or lists that are too large");
    CHECK(evaluate(lists) == "error: the expression makes texts or lists that are too large");
    std::string shared = "[1]";
    for (int i = 0; i < 60; ++i) shared = "[" + shared + "].map(x, [x, x])[0]";
    CHECK(evaluate(shared + " == " + shared) == "error: the expression takes too many steps");
  }

  TEST_CASE("evaluate: patterns cost what they may take") {
    CHECK(evaluate("s.matches('(((a{1,100}){1,100}){1,100})')").starts_with("error: this pattern cannot be used"));
    const std::string loop = "ns.all(x, ns.all(y, ns.all(z, ns.all(v, ns.all(w, ns.all(u, s.matches(s + '|' + s)))))))";
    CHECK(evaluate(loop, {.steps_max = 100'000}) == "error: the expression takes too many steps");
    CHECK(evaluate("ns.all(x, ns.all(y, !s.matches('\\\\pL{1000}' + string(x)) || true))") ==
          "error: the expression takes too many steps");
    const std::string nested = std::string(500, '(') + "a" + [] {
      std::string ends;
      for (int i = 0; i < 500; ++i) ends += ")*";
      return ends;
    }();
    std::string text = "'a'";
    for (int i = 0; i < 17; ++i) text = "[" + text + "].map(x, x + x)[0]";
    CHECK(evaluate(text + ".matches('" + nested + "')") == "error: the expression takes too many steps");
    CHECK(evaluate(text + ".matches('^a+$')") == "true");
    std::string many = "false";
    for (int i = 0; i < 100; ++i) many += " || s.matches('^" + std::to_string(i) + "')";
    CHECK(evaluate(many + " || s.matches('^h')") == "true");
  }

  TEST_CASE("program: what is as deep as it may be is evaluated by a thread, and what is deeper is refused") {
    const auto negated = [](int times) {
      google::api::expr::v1alpha1::Expr expr;
      expr.mutable_const_expr()->set_bool_value(true);
      for (int i = 0; i < times; ++i) {
        google::api::expr::v1alpha1::Expr outer;
        outer.mutable_call_expr()->set_function("!_");
        *outer.mutable_call_expr()->add_args() = std::move(expr);
        expr = std::move(outer);
      }
      return Program::make(expr, {});
    };
    CHECK(negated(2'000).status().code() == StatusCode::kResourceExhausted);
    const auto deep = negated(1'999);
    REQUIRE(deep.ok());
    std::string result;
    std::jthread([&] {
      Heap heap;
      result = describe((*deep)->run({}, heap));
    }).join();
    CHECK(result == "false");
  }
}

}  // namespace headgate::engine::cel
