#include "engine/cel/compile.h"

#include "engine/cel/checker.h"
#include "engine/cel/parser.h"

namespace headgate::engine::cel {
namespace {

using google::api::expr::v1alpha1::SourceInfo;

bool is_continuation(char c) { return (static_cast<unsigned char>(c) & 0xC0) == 0x80; }

// Positions count code points. Empty when they are the bytes.
std::vector<int32_t> code_points_of(std::string_view text) {
  std::vector<int32_t> code_points;
  if (std::none_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) >= 0x80; })) {
    return code_points;
  }
  int32_t count = -1;
  for (const char c : text) {
    if (!is_continuation(c)) ++count;
    code_points.push_back(count);
  }
  code_points.push_back(count + 1);
  return code_points;
}

class Positions {
 public:
  Positions(std::string_view text, const Ids& ids, SourceInfo& out)
      : text_(text), ids_(ids), code_points_(code_points_of(text)), out_(out) {}

  void write(const Expr& expr) {
    out_.set_location("<input>");
    for (size_t i = 0; i < text_.size(); ++i) {
      if (text_[i] == '\n') out_.add_line_offsets(at(i + 1));
    }
    out_.add_line_offsets(at(text_.size()) + 1);
    walk(expr);
  }

 private:
  int32_t at(size_t offset) const { return code_points_.empty() ? static_cast<int32_t>(offset) : code_points_[offset]; }

  // Only what is left in the tree has a position; macros drop parts of what they replace.
  void walk(const Expr& expr) {
    (*out_.mutable_positions())[expr.id()] = at(ids_.offset_of(expr.id()));
    if (expr.has_select_expr()) walk(expr.select_expr().operand());
    if (expr.has_call_expr()) {
      if (expr.call_expr().has_target()) walk(expr.call_expr().target());
      for (const Expr& argument : expr.call_expr().args()) walk(argument);
    }
    for (const Expr& element : expr.list_expr().elements()) walk(element);
    for (const auto& entry : expr.struct_expr().entries()) {
      (*out_.mutable_positions())[entry.id()] = at(ids_.offset_of(entry.id()));
      walk(entry.map_key());
      walk(entry.value());
    }
    if (!expr.has_comprehension_expr()) return;
    const auto& loop = expr.comprehension_expr();
    for (const Expr* part :
         {&loop.iter_range(), &loop.accu_init(), &loop.loop_condition(), &loop.loop_step(), &loop.result()}) {
      walk(*part);
    }
  }

  std::string_view text_;
  const Ids& ids_;
  std::vector<int32_t> code_points_;
  SourceInfo& out_;
};

size_t count_code_points(std::string_view text) {
  return text.size() - static_cast<size_t>(std::count_if(text.begin(), text.end(), is_continuation));
}

std::string_view name_of(Type::PrimitiveType primitive) {
  switch (primitive) {
    case Type::BOOL: return "bool";
    case Type::INT64: return "int";
    case Type::UINT64: return "uint";
    case Type::DOUBLE: return "double";
    case Type::STRING: return "string";
    case Type::BYTES: return "bytes";
    default: return "unknown";
  }
}

std::string_view name_of(Type::WellKnownType type) {
  switch (type) {
    case Type::TIMESTAMP: return "timestamp";
    case Type::DURATION: return "duration";
    default: return "any";
  }
}

}  // namespace

std::optional<CheckedExpr> compile(std::string_view text, const std::vector<Variable>& variables, Problem& problem) {
  if (count_code_points(text) > kMaxCodePoints) {
    problem = {0, true, fmt::format("the rule is longer than {} characters", kMaxCodePoints)};
    return std::nullopt;
  }
  Parser parser(text);
  auto expr = parser.parse();
  if (!expr) {
    problem = parser.problem();
    return std::nullopt;
  }
  CheckedExpr checked;
  Checker checker(variables, parser.ids());
  if (!checker.run(*expr, checked)) {
    problem = checker.problem();
    return std::nullopt;
  }
  *checked.mutable_expr() = std::move(*expr);
  Positions(text, parser.ids(), *checked.mutable_source_info()).write(checked.expr());
  return checked;
}

std::string describe(const Type& type) {
  switch (type.type_kind_case()) {
    case Type::kNull: return "null";
    case Type::kPrimitive: return std::string(name_of(type.primitive()));
    case Type::kWrapper: return fmt::format("wrapper({})", name_of(type.wrapper()));
    case Type::kWellKnown: return std::string(name_of(type.well_known()));
    case Type::kListType: return fmt::format("list({})", describe(type.list_type().elem_type()));
    case Type::kMapType:
      return fmt::format("map({}, {})", describe(type.map_type().key_type()), describe(type.map_type().value_type()));
    case Type::kMessageType: return type.message_type();
    case Type::kType: return fmt::format("type({})", describe(type.type()));
    default: return "dyn";
  }
}

const Type& result_type(const CheckedExpr& checked) { return checked.type_map().at(checked.expr().id()); }

}  // namespace headgate::engine::cel
