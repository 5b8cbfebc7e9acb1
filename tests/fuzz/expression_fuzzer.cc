// The body of a rule: its scanner, its text literals and the expression compiler.
#include <set>

#include "engine/cel/compile.h"
#include "engine/cel/literal.h"
#include "engine/schema/rule_body.h"
#include "tests/fuzz/input.h"
#include "tests/fuzz/properties.h"
#include "tests/support/cel_variables.h"

namespace headgate::fuzz {
namespace {

using namespace engine::cel;
using google::api::expr::v1alpha1::Expr;

void collect(const Expr& expr, std::set<int64_t>& ids) {
  demand(expr.id() > 0 && ids.insert(expr.id()).second, "id {} is given twice, or is none", expr.id());
  demand(expr.expr_kind_case() != Expr::EXPR_KIND_NOT_SET, "a part without a kind");
  if (expr.has_select_expr()) collect(expr.select_expr().operand(), ids);
  if (expr.has_call_expr()) {
    if (expr.call_expr().has_target()) collect(expr.call_expr().target(), ids);
    for (const Expr& argument : expr.call_expr().args()) collect(argument, ids);
  }
  for (const Expr& element : expr.list_expr().elements()) collect(element, ids);
  for (const auto& entry : expr.struct_expr().entries()) {
    collect(entry.map_key(), ids);
    collect(entry.value(), ids);
  }
  if (expr.has_comprehension_expr()) {
    const auto& loop = expr.comprehension_expr();
    for (const Expr* part :
         {&loop.iter_range(), &loop.accu_init(), &loop.loop_condition(), &loop.loop_step(), &loop.result()}) {
      collect(*part, ids);
    }
  }
}

void demand_checked(const CheckedExpr& checked, size_t text_bytes) {
  std::set<int64_t> ids;
  collect(checked.expr(), ids);
  for (const int64_t id : ids) {
    demand(checked.type_map().contains(id), "part {} has no type", id);
    demand(checked.source_info().positions().contains(id), "part {} has no position", id);
  }
  for (const auto& [id, position] : checked.source_info().positions()) {
    demand(position >= 0 && static_cast<size_t>(position) <= text_bytes, "position {} is outside of the text",
           position);
  }
  for (const auto& [id, reference] : checked.reference_map())
    demand(ids.count(id) == 1, "a reference of nobody: {}", id);
}

void try_compiler(std::string_view text) {
  static const std::vector<Variable> names = testing::cel_variables();
  Problem problem;
  const auto checked = compile(text, names, problem);
  if (checked) return demand_checked(*checked, text.size());
  demand(!problem.text.empty() && is_utf8(problem.text), "a problem without a readable text: '{}'", problem.text);
  demand(problem.offset <= text.size(), "a problem at {} of {}", problem.offset, text.size());
}

void try_literal(std::string_view text) {
  const size_t length = text_literal_length(text);
  if (length == 0 || length == std::string_view::npos) return;
  demand(length <= text.size(), "a literal of {} bytes in a text of {}", length, text.size());
  const auto literal = decode_text_literal(text.substr(0, length));
  if (!literal) return;
  const std::string quoted = quote(*literal);
  const auto again = decode_text_literal(quoted);
  demand(text_literal_length(quoted) == quoted.size() && again, "not a literal: {}", quoted);
  demand(again->value == literal->value && again->bytes == literal->bytes, "another text: {}", quoted);
  for (const char* lost : {"\"", "}", "//", "/*"}) {
    demand(quoted.find(lost) == std::string::npos, "the schema language loses {} of {}", lost, quoted);
  }
}

void try_body(std::string_view text) {
  const std::string braced = "{" + std::string(text);
  const engine::Source source{braced, ""};
  engine::Fault fault;
  const auto body = engine::scan_rule_body(source, 1, fault);
  if (!body) return demand_refusal(to_status(fault), {StatusCode::kInvalidArgument});
  demand(body->end <= braced.size(), "a body ends at {} of {}", body->end, braced.size());
  for (size_t offset = 0; offset <= body->body.text.size(); ++offset) {
    demand(body->body.place_of(offset).offset <= braced.size(), "a place outside of the source");
  }
  try_compiler(body->body.text);
}

}  // namespace

void expression_target(std::string_view input) {
  if (engine::find_unreadable(input) != std::string_view::npos) return;
  try_compiler(input);
  try_literal(input);
  try_body(input);
}

}  // namespace headgate::fuzz
