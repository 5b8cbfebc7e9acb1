#include "engine/cel/program.h"

#include "engine/cel/functions.h"

namespace headgate::engine::cel {

using google::api::expr::v1alpha1::Constant;
using google::api::expr::v1alpha1::Expr;

namespace {

// Every part costs some hundred bytes of stack, here and when it is evaluated.
constexpr int kMaxTreeDepth = 2'000;

// Patterns that are kept compiled, and their instructions of 16 bytes together. Further ones are compiled when they are
// used, which costs steps.
constexpr size_t kMaxPatterns = 32;
constexpr int kMaxPatternInstructions = 100'000;
// Enough for nearly every pattern, with what RE2 remembers of texts.
constexpr int64_t kSmallPatternBytes = 64 << 10;

constexpr std::string_view kTypeNames[] = {"bool",
                                           "bytes",
                                           "double",
                                           "int",
                                           "list",
                                           "map",
                                           "null_type",
                                           "string",
                                           "type",
                                           "uint",
                                           "google.protobuf.Duration",
                                           "google.protobuf.Timestamp"};
// Types of messages whose values are values of CEL.
constexpr std::pair<std::string_view, std::string_view> kMessageTypes[] = {
    {"google.protobuf.BoolValue", "bool"},     {"google.protobuf.BytesValue", "bytes"},
    {"google.protobuf.DoubleValue", "double"}, {"google.protobuf.FloatValue", "double"},
    {"google.protobuf.Int32Value", "int"},     {"google.protobuf.Int64Value", "int"},
    {"google.protobuf.StringValue", "string"}, {"google.protobuf.UInt32Value", "uint"},
    {"google.protobuf.UInt64Value", "uint"},   {"google.protobuf.ListValue", "list"},
    {"google.protobuf.Struct", "map"}};

// The value of a name that is a type, or kUnbound.
Value type_named(std::string_view name) {
  for (const std::string_view type : kTypeNames) {
    if (type == name) return Value::type(type);
  }
  for (const auto& [message, type] : kMessageTypes) {
    if (message == name) return Value::type(type);
  }
  if (name == "google.protobuf.NullValue.NULL_VALUE") return Value::of(int64_t{0});
  for (const std::string_view other : {"google.protobuf.Any", "google.protobuf.Empty", "google.protobuf.Value"}) {
    if (other == name) return Value::type(other);
  }
  return Value();
}

// "a.b.c" when the expression is nothing else.
std::string dotted_name(const Expr& expr) {
  if (expr.has_ident_expr()) return expr.ident_expr().name();
  if (!expr.has_select_expr() || expr.select_expr().test_only()) return "";
  const std::string prefix = dotted_name(expr.select_expr().operand());
  return prefix.empty() ? "" : prefix + "." + expr.select_expr().field();
}

// Only these names have dots; a look at the first word keeps long chains of fields cheap.
bool may_be_dotted_type(const Expr& expr) {
  const Expr* first = &expr;
  int dots = 0;
  for (; first->has_select_expr() && dots < 4; ++dots) first = &first->select_expr().operand();
  return dots > 0 && first->has_ident_expr() && first->ident_expr().name() == "google";
}

bool is_call(const Expr& expr, std::string_view function) {
  return expr.has_call_expr() && expr.call_expr().function() == function;
}

}  // namespace

class Builder {
 public:
  Builder(const std::vector<std::string>& variables, Program::Parts& parts) : variables_(variables), parts_(parts) {
    slots_ = variables.size();
  }

  const Step* build(const Expr& expr) {
    if (++depth_ > kMaxTreeDepth) too_deep_ = true;
    const Step* step = too_deep_ ? add({}) : build_kind(expr);
    --depth_;
    return step;
  }
  bool too_deep() const { return too_deep_; }
  size_t slots() const { return slots_; }

 private:
  const Step* add(Step step) { return &parts_.steps.emplace_back(std::move(step)); }
  const Step* add_constant(Value value) { return add({.operation = Operation::kConstant, .constant = value}); }
  std::string_view keep(std::string text) { return parts_.texts.emplace_back(std::move(text)); }
  Value keep_name(std::string text) { return Value::text(keep(std::move(text))); }
  std::span<const Step* const> keep(std::vector<const Step*> steps) {
    return parts_.lists.emplace_back(std::move(steps));
  }

  const Step* build_kind(const Expr& expr) {
    switch (expr.expr_kind_case()) {
      case Expr::kConstExpr: return add_constant(build_constant(expr.const_expr()));
      case Expr::kIdentExpr: return build_name(expr.ident_expr().name());
      case Expr::kSelectExpr: return build_select(expr);
      case Expr::kCallExpr: return build_call(expr.call_expr());
      case Expr::kListExpr: return build_list(expr.list_expr());
      case Expr::kStructExpr: return build_map(expr.struct_expr());
      case Expr::kComprehensionExpr: return build_loop(expr.comprehension_expr());
      default: return unknown_function("nothing");
    }
  }

  const Step* unknown_function(std::string name) {
    return add({.operation = Operation::kUnknownFunction, .constant = keep_name(std::move(name))});
  }

  Value build_constant(const Constant& constant) {
    switch (constant.constant_kind_case()) {
      case Constant::kBoolValue: return Value::of(constant.bool_value());
      case Constant::kInt64Value: return Value::of(int64_t{constant.int64_value()});
      case Constant::kUint64Value: return Value::of(uint64_t{constant.uint64_value()});
      case Constant::kDoubleValue: return Value::of(constant.double_value());
      case Constant::kStringValue: return Value::text(keep(constant.string_value()));
      case Constant::kBytesValue: return Value::bytes(keep(constant.bytes_value()));
      default: return Value::null();
    }
  }

  // A leading dot passes by the variables of loops.
  const Step* build_name(const std::string& name) {
    const bool from_root = !name.empty() && name[0] == '.';
    const std::string plain = from_root ? name.substr(1) : name;
    for (auto scope = scopes_.rbegin(); scope != scopes_.rend() && !from_root; ++scope) {
      if (scope->first == plain) return build_variable(plain, scope->second);
    }
    const auto found = std::find(variables_.begin(), variables_.end(), plain);
    if (found != variables_.end()) return build_variable(plain, static_cast<size_t>(found - variables_.begin()));
    const Value type = type_named(plain);
    if (!type.is(ValueKind::kUnbound)) return add_constant(type);
    return add({.operation = Operation::kUnknownName, .constant = keep_name(plain)});
  }

  const Step* build_variable(const std::string& name, size_t slot) {
    return add({.operation = Operation::kVariable, .slot = static_cast<uint32_t>(slot), .constant = keep_name(name)});
  }

  const Step* build_select(const Expr& expr) {
    if (may_be_dotted_type(expr)) {
      const Value type = type_named(dotted_name(expr));
      if (!type.is(ValueKind::kUnbound)) return add_constant(type);
    }
    const auto& select = expr.select_expr();
    const Step* operand = build(select.operand());
    return add({.operation = select.test_only() ? Operation::kHas : Operation::kSelect,
                .constant = keep_name(select.field()),
                .a = operand});
  }

  const Step* build_call(const Expr::Call& call) {
    std::vector<const Step*> arguments;
    if (call.has_target()) arguments.push_back(build(call.target()));
    for (const Expr& argument : call.args()) arguments.push_back(build(argument));
    std::string name = call.function();
    if (!name.empty() && name[0] == '.') name.erase(0, 1);
    const auto simple = [&](Operation operation) {
      return add({.operation = operation, .a = arguments[0], .b = arguments.size() > 1 ? arguments[1] : nullptr});
    };
    if (!call.has_target() && arguments.size() == 1 && name == "!_") return simple(Operation::kNot);
    if (!call.has_target() && arguments.size() == 2) {
      if (name == "_&&_") return simple(Operation::kAnd);
      if (name == "_||_") return simple(Operation::kOr);
      if (const Function binary = find_binary(name)) {
        return add({.operation = Operation::kBinary, .a = arguments[0], .b = arguments[1], .function = binary});
      }
    }
    if (!call.has_target() && arguments.size() == 3 && name == "_?_:_") {
      return add({.operation = Operation::kChoice, .a = arguments[0], .b = arguments[1], .c = arguments[2]});
    }
    const Function function = find_function(name, call.has_target(), arguments.size());
    if (function == nullptr) return unknown_function(std::move(name));
    if (name == "matches" && is_text(*arguments[1])) {
      if (const re2::RE2* pattern = keep_pattern(arguments[1]->constant.text())) {
        return add({.operation = Operation::kMatches, .a = arguments[0], .pattern = pattern});
      }
    }
    return add({.operation = Operation::kCall, .more = keep(std::move(arguments)), .function = function});
  }

  static bool is_text(const Step& step) {
    return step.operation == Operation::kConstant && step.constant.is(ValueKind::kString);
  }

  // Null when there are too many of them.
  const re2::RE2* keep_pattern(std::string_view text) {
    if (parts_.patterns.size() >= kMaxPatterns || pattern_instructions_ > kMaxPatternInstructions) return nullptr;
    const re2::StringPiece piece(text.data(), text.size());
    re2::RE2::Options small = pattern_options();
    small.set_max_mem(kSmallPatternBytes);
    parts_.patterns.emplace_back(piece, small);
    if (parts_.patterns.back().error_code() == re2::RE2::ErrorPatternTooLarge) {
      parts_.patterns.pop_back();
      parts_.patterns.emplace_back(piece, pattern_options());
    }
    const re2::RE2& pattern = parts_.patterns.back();
    if (!pattern.ok()) return &pattern;
    pattern_instructions_ += pattern.ProgramSize();
    if (pattern_instructions_ <= kMaxPatternInstructions) return &pattern;
    parts_.patterns.pop_back();
    return nullptr;
  }

  const Step* build_list(const Expr::CreateList& list) {
    std::vector<const Step*> elements;
    bool constant = true;
    for (const Expr& element : list.elements()) {
      elements.push_back(build(element));
      constant = constant && elements.back()->operation == Operation::kConstant;
    }
    if (!constant) return add({.operation = Operation::kList, .more = keep(std::move(elements))});
    auto& values = parts_.values.emplace_back();
    for (const Step* element : elements) values.push_back(element->constant);
    return add_constant(Value::list(values));
  }

  const Step* build_map(const Expr::CreateStruct& map) {
    if (!map.message_name().empty()) return unknown_function(map.message_name());
    std::vector<const Step*> parts;
    for (const auto& entry : map.entries()) {
      parts.push_back(build(entry.map_key()));
      parts.push_back(build(entry.value()));
    }
    return add({.operation = Operation::kMap, .more = keep(std::move(parts))});
  }

  // Loops come from macros only, so their steps have one of five forms (macros.cc).
  const Step* build_loop(const Expr::Comprehension& loop) {
    Step step;
    step.a = build(loop.iter_range());
    step.slot = static_cast<uint32_t>(variables_.size() + scopes_.size());
    scopes_.emplace_back(loop.iter_var(), step.slot);
    slots_ = std::max(slots_, variables_.size() + scopes_.size());
    const Expr& next = loop.loop_step();
    if (is_call(next, "_&&_") || is_call(next, "_||_")) {
      step.operation = is_call(next, "_&&_") ? Operation::kAll : Operation::kExists;
      step.b = build(next.call_expr().args(1));
    } else if (loop.accu_init().has_const_expr()) {
      step.operation = Operation::kExistsOne;
      step.b = build(next.call_expr().args(0));
    } else {
      step.operation = Operation::kCollect;
      const bool filtered = is_call(next, "_?_:_");
      if (filtered) step.b = build(next.call_expr().args(0));
      const Expr& longer = filtered ? next.call_expr().args(1) : next;
      step.c = build(longer.call_expr().args(1).list_expr().elements(0));
    }
    scopes_.pop_back();
    return add(std::move(step));
  }

  const std::vector<std::string>& variables_;
  Program::Parts& parts_;
  std::vector<std::pair<std::string, size_t>> scopes_;
  size_t slots_ = 0;
  int depth_ = 0;
  int pattern_instructions_ = 0;
  bool too_deep_ = false;
};

Program::Program() : parts_(std::make_unique<Parts>()) {}
Program::~Program() = default;

StatusOr<std::shared_ptr<const Program>> Program::make(const Expr& expr, const std::vector<std::string>& variables) {
  std::shared_ptr<Program> program(new Program);
  program->variables_ = variables;
  Builder builder(program->variables_, *program->parts_);
  program->root_ = builder.build(expr);
  program->slots_ = builder.slots();
  if (builder.too_deep()) {
    return status_of(StatusCode::kResourceExhausted,
                     "the expression has more than {} parts inside each other; split it into several rules",
                     kMaxTreeDepth);
  }
  return std::shared_ptr<const Program>(std::move(program));
}

size_t Program::bytes() const {
  size_t bytes = sizeof(Parts) + parts_->steps.size() * sizeof(Step);
  for (const auto& list : parts_->lists) bytes += sizeof(list) + list.capacity() * sizeof(list[0]);
  for (const std::string& text : parts_->texts) bytes += sizeof(text) + text.capacity();
  for (const auto& values : parts_->values) bytes += sizeof(values) + values.capacity() * sizeof(Value);
  for (const re2::RE2& pattern : parts_->patterns) bytes += static_cast<size_t>(pattern.options().max_mem());
  return bytes;
}

std::optional<size_t> Program::place_of(std::string_view variable) const {
  const auto found = std::find(variables_.begin(), variables_.end(), variable);
  if (found == variables_.end()) return std::nullopt;
  return static_cast<size_t>(found - variables_.begin());
}

}  // namespace headgate::engine::cel
