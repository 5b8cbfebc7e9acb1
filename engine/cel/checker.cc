#include "engine/cel/checker.h"

#include "engine/cel/library.h"

namespace headgate::engine::cel {
namespace {

// What all types of one expression may take together, written out; no real rule comes near.
constexpr size_t kMaxTypeParts = 2'000'000;

// "a.b.c" for names and fields only.
std::optional<std::string> qualified_name(const Expr& expr) {
  if (expr.has_ident_expr()) return expr.ident_expr().name();
  if (!expr.has_select_expr() || expr.select_expr().test_only()) return std::nullopt;
  auto prefix = qualified_name(expr.select_expr().operand());
  if (!prefix) return std::nullopt;
  return *prefix + "." + expr.select_expr().field();
}

// Only these names of types have dots; looking at the first word keeps long chains of fields cheap.
bool may_be_type_name(const Expr& expr) {
  const Expr* first = &expr;
  int dots = 0;
  for (; first->has_select_expr() && dots < 4; ++dots) first = &first->select_expr().operand();
  return first->has_ident_expr() && (first->ident_expr().name() == "google" || first->ident_expr().name() == ".google");
}

size_t count_parts(TypeRef type) {
  size_t count = 1;
  for (const TypeRef part : type->parts) count += count_parts(part);
  return count;
}

// "_>=_" as people write it: ">=".
std::string spell(std::string_view function) {
  if (function == "@in") return "in";
  if (function == "_[_]") return "[]";
  if (function == "_?_:_") return "?:";
  std::string text;
  for (const char c : function) {
    if (c != '_' || function.find_first_not_of("_!-+*/%<>=&|") != std::string_view::npos) text += c;
  }
  return text;
}

}  // namespace

Checker::Checker(const std::vector<Variable>& variables, const Ids& ids) : ids_(ids) {
  for (const Variable& variable : variables) variables_.emplace(variable.name, types_.from_proto(variable.type));
}

bool Checker::run(Expr& expr, CheckedExpr& out) { return check(expr) != nullptr && finish(out); }

TypeRef Checker::fail(const Expr& at, std::string text) {
  problem_ = {ids_.offset_of(at.id()), false, std::move(text)};
  return nullptr;
}

TypeRef Checker::fail_mismatch(const Expr& at, std::string_view function, bool method,
                               const std::vector<TypeRef>& arguments) {
  std::vector<std::string> names;
  for (const TypeRef type : arguments) names.push_back(describe(types_.resolve(type, true)));
  const std::string target = method ? fmt::format(" of {}", names.front()) : "";
  if (method) names.erase(names.begin());
  if (method && names.empty()) return fail(at, fmt::format("there is no method {}(){}", function, target));
  return fail(at, fmt::format("'{}'{} does not take ({})", spell(function), target, fmt::join(names, ", ")));
}

TypeRef Checker::set(const Expr& expr, TypeRef type) {
  type_of_.emplace_back(expr.id(), type);
  return type;
}

TypeRef Checker::check(Expr& expr) {
  switch (expr.expr_kind_case()) {
    case Expr::kConstExpr: return set(expr, check_constant(expr));
    case Expr::kIdentExpr: return check_name(expr);
    case Expr::kSelectExpr: return check_select(expr);
    case Expr::kCallExpr: return check_call(expr);
    case Expr::kListExpr: return check_list(expr);
    case Expr::kStructExpr: return check_map(expr);
    case Expr::kComprehensionExpr: return check_comprehension(expr);
    default: return fail(expr, "this expression cannot stand in a rule");
  }
}

TypeRef Checker::check_constant(const Expr& expr) {
  using google::api::expr::v1alpha1::Constant;
  switch (expr.const_expr().constant_kind_case()) {
    case Constant::kBoolValue: return types_.simple(Kind::kBool);
    case Constant::kInt64Value: return types_.simple(Kind::kInt);
    case Constant::kUint64Value: return types_.simple(Kind::kUint);
    case Constant::kDoubleValue: return types_.simple(Kind::kDouble);
    case Constant::kStringValue: return types_.simple(Kind::kString);
    case Constant::kBytesValue: return types_.simple(Kind::kBytes);
    default: return types_.simple(Kind::kNull);
  }
}

TypeRef Checker::check_name(Expr& expr) {
  auto found = find(expr.ident_expr().name());
  if (!found) {
    return fail(expr, fmt::format("'{}' is neither a parameter of the rule nor 'context'", expr.ident_expr().name()));
  }
  const TypeRef type = found->type;
  refer(expr, std::move(*found));
  return set(expr, type);
}

// A leading dot means the rule's own variable, also inside of a loop that has a variable of this name.
std::optional<Checker::Found> Checker::find(std::string_view name) {
  const bool from_root = !name.empty() && name[0] == '.';
  const std::string_view plain = from_root ? name.substr(1) : name;
  const auto in_loop = std::find_if(scopes_.rbegin(), scopes_.rend(), [&](const auto& s) { return s.first == plain; });
  if (in_loop != scopes_.rend() && !from_root) return Found{in_loop->first, in_loop->second, std::nullopt};
  const auto variable = variables_.find(std::string(plain));
  if (variable != variables_.end()) {
    const bool hidden = in_loop != scopes_.rend();
    return Found{std::string(hidden ? name : plain), variable->second, std::nullopt};
  }
  return find_type_name(plain);
}

std::optional<Checker::Found> Checker::find_type_name(std::string_view name) {
  constexpr std::pair<std::string_view, Kind> kSimple[] = {{"bool", Kind::kBool},
                                                           {"bytes", Kind::kBytes},
                                                           {"double", Kind::kDouble},
                                                           {"int", Kind::kInt},
                                                           {"null_type", Kind::kNull},
                                                           {"string", Kind::kString},
                                                           {"uint", Kind::kUint},
                                                           {"google.protobuf.Any", Kind::kAny},
                                                           {"google.protobuf.Duration", Kind::kDuration},
                                                           {"google.protobuf.Timestamp", Kind::kTimestamp},
                                                           {"google.protobuf.Value", Kind::kDyn}};
  constexpr std::pair<std::string_view, Kind> kWrappers[] = {
      {"BoolValue", Kind::kBool},     {"BytesValue", Kind::kBytes}, {"DoubleValue", Kind::kDouble},
      {"FloatValue", Kind::kDouble},  {"Int32Value", Kind::kInt},   {"Int64Value", Kind::kInt},
      {"StringValue", Kind::kString}, {"UInt32Value", Kind::kUint}, {"UInt64Value", Kind::kUint}};
  constexpr std::string_view kPackage = "google.protobuf.";
  const TypeRef dyn = types_.simple(Kind::kDyn);
  const auto found = [&](TypeRef type) { return Found{std::string(name), types_.type_of(type), std::nullopt}; };
  for (const auto& [candidate, kind] : kSimple) {
    if (candidate == name) return found(types_.simple(kind));
  }
  if (name == "list" || name == "google.protobuf.ListValue") return found(types_.list(dyn));
  if (name == "map") return found(types_.map(dyn, dyn));
  if (name == "type") return found(types_.simple(Kind::kType));
  if (name == "google.protobuf.Struct") return found(types_.map(types_.simple(Kind::kString), dyn));
  if (name == "google.protobuf.Empty") return found(types_.message(std::string(name)));
  if (name == "google.protobuf.NullValue.NULL_VALUE") return Found{std::string(name), types_.simple(Kind::kInt), 0};
  if (name.substr(0, kPackage.size()) != kPackage) return std::nullopt;
  for (const auto& [candidate, kind] : kWrappers) {
    if (candidate == name.substr(kPackage.size())) return found(types_.wrapper(types_.simple(kind)));
  }
  return std::nullopt;
}

void Checker::refer(Expr& expr, Found found) {
  auto& reference = references_[expr.id()];
  reference.set_name(found.name);
  if (found.constant) reference.mutable_value()->set_int64_value(*found.constant);
  expr.mutable_ident_expr()->set_name(std::move(found.name));
}

TypeRef Checker::check_select(Expr& expr) {
  if (may_be_type_name(expr)) {
    const auto name = qualified_name(expr);
    auto found = name ? find(*name) : std::nullopt;
    if (found) {
      const TypeRef type = found->type;
      refer(expr, std::move(*found));
      return set(expr, type);
    }
  }
  auto& select = *expr.mutable_select_expr();
  TypeRef operand = check(*select.mutable_operand());
  if (operand == nullptr) return nullptr;
  operand = types_.resolve(operand, false);
  TypeRef field = types_.simple(Kind::kDyn);
  if (operand->kind == Kind::kMap) {
    field = operand->parts[1];
  } else if (operand->kind == Kind::kVariable) {
    types_.is_assignable(field, operand);
  } else if (operand->kind != Kind::kDyn) {
    return fail(expr, fmt::format("a value of type {} has no fields, so no '.{}'", describe(operand), select.field()));
  }
  return set(expr, select.test_only() ? types_.simple(Kind::kBool) : types_.resolve(field, false));
}

TypeRef Checker::check_call(Expr& expr) {
  auto& call = *expr.mutable_call_expr();
  std::vector<TypeRef> arguments;
  if (call.has_target()) arguments.push_back(nullptr);
  for (Expr& argument : *call.mutable_args()) {
    const TypeRef type = check(argument);
    if (type == nullptr) return nullptr;
    arguments.push_back(type);
  }
  if (call.has_target()) {
    arguments[0] = check(*call.mutable_target());
    if (arguments[0] == nullptr) return nullptr;
  } else if (call.function()[0] == '.') {
    call.set_function(call.function().substr(1));
  }
  if (overloads_of(call.function()).empty()) {
    return fail(expr, fmt::format("there is no function {}()", call.function()));
  }
  const TypeRef result = call.function() == "_&&_" || call.function() == "_||_" ? check_logic(expr, arguments)
                                                                                : resolve_overloads(expr, arguments);
  return result == nullptr ? nullptr : set(expr, result);
}

TypeRef Checker::check_logic(const Expr& expr, const std::vector<TypeRef>& arguments) {
  const TypeRef boolean = types_.simple(Kind::kBool);
  for (size_t i = 0; i < arguments.size(); ++i) {
    if (types_.is_assignable(arguments[i], boolean)) continue;
    const Expr& argument = expr.call_expr().args(static_cast<int>(i));
    return fail(argument,
                fmt::format("'{}' needs a condition here, not a value of type {}", spell(expr.call_expr().function()),
                            describe(types_.resolve(arguments[i], true))));
  }
  references_[expr.id()].add_overload_id(overloads_of(expr.call_expr().function())[0].id);
  return boolean;
}

TypeRef Checker::resolve_overloads(const Expr& expr, const std::vector<TypeRef>& arguments) {
  const bool method = expr.call_expr().has_target();
  TypeRef result = nullptr;
  auto& reference = references_[expr.id()];
  for (const Overload& overload : overloads_of(expr.call_expr().function())) {
    if (overload.mixes_numbers && !mixes_numbers_) continue;
    const Signature signature = instantiate(overload, types_);
    if (signature.method != method || !types_.are_assignable(arguments, signature.arguments)) continue;
    reference.add_overload_id(overload.id);
    const TypeRef candidate = types_.resolve(signature.result, false);
    if (result == nullptr) {
      result = candidate;
    } else if (result->kind != Kind::kDyn && !Types::equal(candidate, result)) {
      result = types_.simple(Kind::kDyn);
    }
  }
  if (result == nullptr) return fail_mismatch(expr, expr.call_expr().function(), method, arguments);
  return result;
}

TypeRef Checker::join(TypeRef before, TypeRef type) {
  if (before == nullptr) return type;
  return types_.is_assignable(before, type) ? types_.more_general(before, type) : types_.simple(Kind::kDyn);
}

TypeRef Checker::check_list(Expr& expr) {
  TypeRef element = nullptr;
  for (Expr& item : *expr.mutable_list_expr()->mutable_elements()) {
    const TypeRef type = check(item);
    if (type == nullptr) return nullptr;
    element = join(element, type);
  }
  return set(expr, types_.list(element == nullptr ? types_.variable() : element));
}

TypeRef Checker::check_map(Expr& expr) {
  TypeRef key = nullptr;
  TypeRef value = nullptr;
  for (auto& entry : *expr.mutable_struct_expr()->mutable_entries()) {
    const TypeRef key_type = check(*entry.mutable_map_key());
    const TypeRef value_type = key_type == nullptr ? nullptr : check(*entry.mutable_value());
    if (value_type == nullptr) return nullptr;
    key = join(key, key_type);
    value = join(value, value_type);
  }
  if (key == nullptr) return set(expr, types_.map(types_.variable(), types_.variable()));
  return set(expr, types_.map(key, value));
}

TypeRef Checker::range_element(const Expr& range, TypeRef type) {
  if (type->kind == Kind::kList || type->kind == Kind::kMap) return type->parts[0];
  const TypeRef dyn = types_.simple(Kind::kDyn);
  if (type->kind == Kind::kVariable) types_.is_assignable(dyn, type);
  if (type->kind == Kind::kVariable || type->kind == Kind::kDyn) return dyn;
  return fail(range, fmt::format("a value of type {} is no list or map to go through", describe(type)));
}

TypeRef Checker::check_comprehension(Expr& expr) {
  auto& loop = *expr.mutable_comprehension_expr();
  TypeRef range = check(*loop.mutable_iter_range());
  const TypeRef accumulated = range == nullptr ? nullptr : check(*loop.mutable_accu_init());
  if (accumulated == nullptr) return nullptr;
  range = types_.resolve(range, false);
  // cel-go forgets at its first loop that numbers of two types are not to be compared, and remembers it no more.
  mixes_numbers_ = true;
  const size_t outside = scopes_.size();
  scopes_.emplace_back(loop.accu_var(), accumulated);
  const TypeRef element = range_element(loop.iter_range(), range);
  if (element == nullptr) return nullptr;
  scopes_.emplace_back(loop.iter_var(), element);
  const TypeRef condition = check(*loop.mutable_loop_condition());
  if (condition == nullptr) return nullptr;
  types_.is_assignable(types_.simple(Kind::kBool), condition);
  const TypeRef step = check(*loop.mutable_loop_step());
  if (step == nullptr) return nullptr;
  if (!types_.is_assignable(accumulated, step)) {
    return fail(loop.loop_step(),
                fmt::format("expected {} in this loop, found {}", describe(types_.resolve(accumulated, true)),
                            describe(types_.resolve(step, true))));
  }
  scopes_.resize(outside + 1);
  const TypeRef result = check(*loop.mutable_result());
  scopes_.resize(outside);
  return result == nullptr ? nullptr : set(expr, types_.resolve(result, false));
}

bool Checker::finish(CheckedExpr& out) {
  size_t parts = 0;
  for (const auto& [id, type] : type_of_) {
    const TypeRef resolved = types_.resolve(type, true);
    parts += count_parts(resolved);
    if (parts > kMaxTypeParts) {
      problem_ = {ids_.offset_of(id), false, "too many lists inside of lists"};
      return false;
    }
    Types::to_proto(resolved, (*out.mutable_type_map())[id]);
  }
  for (auto& [id, reference] : references_) (*out.mutable_reference_map())[id] = std::move(reference);
  return true;
}

}  // namespace headgate::engine::cel
