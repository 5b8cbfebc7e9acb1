#include "engine/check/graph.h"

#include <algorithm>
#include <random>

#include "tests/support/test_main.h"

namespace headgate::engine {
namespace {

using Op = Graph::Op;
using Value = Graph::Value;

const Status kBroken = make_status(StatusCode::kInternal, "broken"),
             kUndefined = make_status(StatusCode::kAborted, "undefined");

Graph::Id fact(Graph& graph, bool allowed) {
  const Graph::Id node = graph.add(Op::kAny);
  graph.decide(node, allowed);
  return node;
}

Graph::Id broken(Graph& graph, const Status& why = kBroken) {
  const Graph::Id node = graph.add(Op::kAny);
  graph.fail(node, why);
  return node;
}

Graph::Id combine(Graph& graph, Op op, const std::vector<Graph::Id>& operands) {
  const Graph::Id node = graph.add(op);
  for (const Graph::Id one : operands) graph.add_operand(node, one);
  graph.complete(node);
  return node;
}

Value finished(Graph& graph, Graph::Id node) {
  CHECK(graph.finish(kUndefined).ok());
  return graph.value(node);
}

TEST_SUITE("check/graph") {
  TEST_CASE("graph: a node is decided as soon as one operand decides it") {
    Graph graph;
    const Graph::Id any = graph.add(Op::kAny), unknown = graph.add(Op::kAny), late = graph.add(Op::kAny);
    graph.add_operand(any, unknown);
    graph.add_operand(any, late);
    CHECK(graph.open(any));
    graph.decide(late, true);
    CHECK(graph.value(any) == Value::kAllowed);
    const Graph::Id all = combine(graph, Op::kAll, {unknown, fact(graph, false)});
    CHECK(graph.value(all) == Value::kDenied);
    const Graph::Id except = combine(graph, Op::kExcept, {unknown, late});
    CHECK(graph.value(except) == Value::kDenied);
  }

  TEST_CASE("graph: what is not complete is not denied") {
    Graph graph;
    const Graph::Id any = graph.add(Op::kAny);
    graph.add_operand(any, fact(graph, false));
    CHECK(graph.open(any));
    graph.complete(any);
    CHECK(graph.value(any) == Value::kDenied);
    CHECK(graph.value(combine(graph, Op::kAny, {})) == Value::kDenied);
  }

  TEST_CASE("graph: an operand that decides beats one that fails, on either side") {
    for (const bool first : {true, false}) {
      Graph graph;
      const auto both = [&](Op op, bool decided) {
        const Graph::Id good = fact(graph, decided), bad = broken(graph);
        return combine(graph, op, first ? std::vector{bad, good} : std::vector{good, bad});
      };
      const Graph::Id any = both(Op::kAny, true), all = both(Op::kAll, false);
      const Graph::Id neither = both(Op::kAny, false), not_all = both(Op::kAll, true);
      const Graph::Id none = combine(graph, Op::kExcept, {fact(graph, false), broken(graph)});
      const Graph::Id out = combine(graph, Op::kExcept, {broken(graph), fact(graph, true)});
      const Graph::Id open = combine(graph, Op::kExcept, {fact(graph, true), broken(graph)});
      CHECK(graph.finish(kUndefined).ok());
      CHECK(graph.value(any) == Value::kAllowed);
      CHECK(graph.value(all) == Value::kDenied);
      CHECK(graph.value(neither) == Value::kFailed);
      CHECK(graph.value(not_all) == Value::kFailed);
      CHECK(graph.value(none) == Value::kDenied);
      CHECK(graph.value(out) == Value::kDenied);
      CHECK(graph.value(open) == Value::kFailed);
      CHECK(message_of(graph.error(open)) == "broken");
    }
  }

  TEST_CASE("graph: a circle without a reason denies, one with a reason allows, one that denies itself fails") {
    Graph graph;
    const Graph::Id a = graph.add(Op::kAny), b = graph.add(Op::kAny), c = graph.add(Op::kAny);
    graph.add_operand(a, b);
    graph.add_operand(b, a);
    graph.complete(a);
    graph.complete(b);
    const Graph::Id self = graph.add(Op::kExcept);
    graph.add_operand(self, fact(graph, true));
    graph.add_operand(self, self);
    graph.complete(self);
    graph.add_operand(c, c);
    graph.add_operand(c, broken(graph));
    graph.complete(c);
    const Graph::Id without = combine(graph, Op::kExcept, {fact(graph, true), a});
    CHECK(graph.finish(kUndefined).ok());
    CHECK(graph.value(a) == Value::kDenied);
    CHECK(graph.value(b) == Value::kDenied);
    CHECK(graph.value(without) == Value::kAllowed);
    CHECK(graph.value(self) == Value::kFailed);
    CHECK(message_of(graph.error(self)) == "undefined");
    CHECK(graph.value(c) == Value::kFailed);
    CHECK(message_of(graph.error(c)) == "broken");
  }

  TEST_CASE("graph: circles that unfold one by one are decided, or given up when nobody waits any more") {
    // Each b rests on itself, or on the next a, which is denied as soon as the next b is not.
    constexpr int kLinks = 400;
    Graph graph;
    std::vector<Graph::Id> a, b;
    for (int i = 0; i < kLinks; ++i) {
      a.push_back(graph.add(Op::kExcept));
      b.push_back(graph.add(Op::kAny));
    }
    const Graph::Id yes = fact(graph, true);
    for (size_t i = 0; i < kLinks; ++i) {
      graph.add_operand(a[i], yes);
      graph.add_operand(a[i], b[i]);
      graph.complete(a[i]);
      graph.add_operand(b[i], b[i]);
      if (i + 1 < kLinks) graph.add_operand(b[i], a[i + 1]);
      graph.complete(b[i]);
    }
    int asked = 0;
    const Status given_up = graph.finish(kUndefined, [&] { return ++asked < 10 ? ok_status() : kBroken; });
    CHECK(message_of(given_up) == "broken");
    CHECK(asked == 10);
    CHECK(graph.finish(kUndefined).ok());
    for (size_t i = 0; i < kLinks; ++i) {
      CHECK(graph.value(a[i]) == ((kLinks - i) % 2 == 1 ? Value::kAllowed : Value::kDenied));
    }
  }

  TEST_CASE("graph: of several errors it is always the same that is told") {
    for (const bool turned : {true, false}) {
      Graph graph;
      std::vector<Graph::Id> operands{broken(graph, make_status(StatusCode::kInternal, "b")),
                                      broken(graph, make_status(StatusCode::kInternal, "a"))};
      if (turned) std::reverse(operands.begin(), operands.end());
      const Graph::Id node = combine(graph, Op::kAny, operands);
      CHECK(finished(graph, node) == Value::kFailed);
      CHECK(message_of(graph.error(node)) == "a");
    }
  }

  TEST_CASE("graph: the order in which nodes and operands come changes nothing") {
    std::mt19937 random(7);
    for (int round = 0; round < 300; ++round) {
      // The same random equations, put in twice in different orders.
      const size_t size = 3 + random() % 8;
      struct Equation {
        Op op;
        int fixed;  // 0 none, 1 allowed, 2 denied, 3 broken
        std::vector<size_t> operands;
      };
      std::vector<Equation> equations(size);
      for (Equation& one : equations) {
        one.op = static_cast<Op>(random() % 3);
        one.fixed = random() % 3 == 0 ? static_cast<int>(1 + random() % 3) : 0;
        const size_t count = one.op == Op::kExcept ? 2 : 1 + random() % 3;
        for (size_t i = 0; i < count; ++i) one.operands.push_back(random() % size);
      }
      std::vector<std::vector<Value>> results;
      for (int order = 0; order < 2; ++order) {
        Graph graph;
        std::vector<size_t> places(size);
        for (size_t i = 0; i < size; ++i) places[i] = i;
        if (order == 1) std::shuffle(places.begin(), places.end(), random);
        std::vector<Graph::Id> ids(size);
        for (const size_t place : places) ids[place] = graph.add(equations[place].op);
        for (const size_t place : places) {
          const Equation& one = equations[place];
          std::vector<size_t> operands = one.operands;
          if (order == 1 && one.op != Op::kExcept) std::shuffle(operands.begin(), operands.end(), random);
          if (one.fixed == 0) {
            for (const size_t operand : operands) graph.add_operand(ids[place], ids[operand]);
            graph.complete(ids[place]);
          } else if (one.fixed == 3) {
            graph.fail(ids[place], kBroken);
          } else {
            graph.decide(ids[place], one.fixed == 1);
          }
        }
        CHECK(graph.finish(kUndefined).ok());
        std::vector<Value>& values = results.emplace_back();
        for (const Graph::Id id : ids) values.push_back(graph.value(id));
      }
      CHECK(results[0] == results[1]);
    }
  }
}

}  // namespace
}  // namespace headgate::engine
