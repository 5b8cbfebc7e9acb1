#include "engine/cel/macros.h"

namespace headgate::engine::cel {
namespace {

// No text can spell it, so it never hides a name of a rule.
constexpr std::string_view kResult = "@result";

class Maker {
 public:
  Maker(Ids& ids, size_t offset) : ids_(ids), offset_(offset) {}

  Expr result() {
    Expr expr = make();
    expr.mutable_ident_expr()->set_name(std::string(kResult));
    return expr;
  }
  Expr boolean(bool value) {
    Expr expr = make();
    expr.mutable_const_expr()->set_bool_value(value);
    return expr;
  }
  Expr integer(int64_t value) {
    Expr expr = make();
    expr.mutable_const_expr()->set_int64_value(value);
    return expr;
  }
  Expr empty_list() {
    Expr expr = make();
    expr.mutable_list_expr();
    return expr;
  }
  Expr list(Expr element) {
    Expr expr = empty_list();
    *expr.mutable_list_expr()->add_elements() = std::move(element);
    return expr;
  }
  template <typename... Args>
  Expr call(std::string_view function, Args... args) {
    Expr expr = make();
    expr.mutable_call_expr()->set_function(std::string(function));
    ((*expr.mutable_call_expr()->add_args() = std::move(args)), ...);
    return expr;
  }
  Expr loop() {
    Expr expr = make();
    expr.mutable_comprehension_expr()->set_accu_var(std::string(kResult));
    return expr;
  }

 private:
  Expr make() {
    Expr expr;
    expr.set_id(ids_.next(offset_));
    return expr;
  }

  Ids& ids_;
  size_t offset_;
};

struct Loop {
  Expr init, condition, step, result;
};

Loop make_all(Maker& make, Expr predicate) {
  Loop loop;
  loop.init = make.boolean(true);
  Expr accumulated = make.result();
  loop.condition = make.call("@not_strictly_false", std::move(accumulated));
  accumulated = make.result();
  loop.step = make.call("_&&_", std::move(accumulated), std::move(predicate));
  loop.result = make.result();
  return loop;
}

Loop make_exists(Maker& make, Expr predicate) {
  Loop loop;
  loop.init = make.boolean(false);
  Expr accumulated = make.result();
  Expr negated = make.call("!_", std::move(accumulated));
  loop.condition = make.call("@not_strictly_false", std::move(negated));
  accumulated = make.result();
  loop.step = make.call("_||_", std::move(accumulated), std::move(predicate));
  loop.result = make.result();
  return loop;
}

Loop make_exists_one(Maker& make, Expr predicate) {
  Loop loop;
  loop.init = make.integer(0);
  loop.condition = make.boolean(true);
  Expr accumulated = make.result();
  Expr one = make.integer(1);
  Expr counted = make.call("_+_", std::move(accumulated), std::move(one));
  accumulated = make.result();
  loop.step = make.call("_?_:_", std::move(predicate), std::move(counted), std::move(accumulated));
  accumulated = make.result();
  one = make.integer(1);
  loop.result = make.call("_==_", std::move(accumulated), std::move(one));
  return loop;
}

// map and filter: `element` is appended where `predicate` holds, or always.
Loop make_list(Maker& make, std::optional<Expr> predicate, Expr element) {
  Loop loop;
  loop.init = make.empty_list();
  loop.condition = make.boolean(true);
  Expr accumulated = make.result();
  Expr added = make.list(std::move(element));
  loop.step = make.call("_+_", std::move(accumulated), std::move(added));
  if (predicate) {
    accumulated = make.result();
    Expr longer = std::move(loop.step);
    loop.step = make.call("_?_:_", std::move(*predicate), std::move(longer), std::move(accumulated));
  }
  loop.result = make.result();
  return loop;
}

Expansion fail(Problem& problem, size_t offset, std::string text) {
  problem = {offset, true, std::move(text)};
  return Expansion::kFailed;
}

Expansion expand_has(MacroCall& call, Ids& ids, Expr& out, Problem& problem) {
  Expr& argument = call.arguments[0];
  if (!argument.has_select_expr()) {
    return fail(problem, ids.offset_of(argument.id()), "has() wants a field, for example has(context.data.key)");
  }
  out.Clear();
  out.set_id(ids.next(call.offset));
  *out.mutable_select_expr() = std::move(*argument.mutable_select_expr());
  out.mutable_select_expr()->set_test_only(true);
  return Expansion::kDone;
}

Loop make_loop(const std::string_view function, Maker& make, std::vector<Expr>& arguments) {
  if (function == "all") return make_all(make, std::move(arguments[1]));
  if (function == "exists") return make_exists(make, std::move(arguments[1]));
  if (function == "exists_one") return make_exists_one(make, std::move(arguments[1]));
  if (function == "filter") return make_list(make, std::move(arguments[1]), std::move(arguments[0]));
  if (arguments.size() == 2) return make_list(make, std::nullopt, std::move(arguments[1]));
  return make_list(make, std::move(arguments[1]), std::move(arguments[2]));
}

bool is_loop(const MacroCall& call) {
  if (!call.target) return false;
  const std::string_view f = call.function;
  if (f == "map") return call.arguments.size() == 2 || call.arguments.size() == 3;
  return call.arguments.size() == 2 && (f == "all" || f == "exists" || f == "exists_one" || f == "filter");
}

}  // namespace

Expansion expand(MacroCall& call, Ids& ids, Expr& out, Problem& problem) {
  if (!call.target && call.function == "has" && call.arguments.size() == 1) {
    return expand_has(call, ids, out, problem);
  }
  if (!is_loop(call)) return Expansion::kNone;
  const Expr& first = call.arguments[0];
  const std::string variable = first.ident_expr().name();
  if (!first.has_ident_expr() || variable == "__result__") {
    return fail(problem, ids.offset_of(first.id()),
                fmt::format("the first argument of {}() is the name of its variable, for example x", call.function));
  }
  Maker make(ids, call.offset);
  Loop loop = make_loop(call.function, make, call.arguments);
  out = make.loop();
  auto& comprehension = *out.mutable_comprehension_expr();
  comprehension.set_iter_var(variable);
  *comprehension.mutable_iter_range() = std::move(*call.target);
  *comprehension.mutable_accu_init() = std::move(loop.init);
  *comprehension.mutable_loop_condition() = std::move(loop.condition);
  *comprehension.mutable_loop_step() = std::move(loop.step);
  *comprehension.mutable_result() = std::move(loop.result);
  return Expansion::kDone;
}

}  // namespace headgate::engine::cel
