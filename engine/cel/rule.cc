#include "engine/cel/rule.h"

#include "engine/cel/attribute.h"

namespace headgate::engine::cel {
namespace {

constexpr size_t kParametersInline = 16;

Status status_of_error(const ValueError& error) {
  StatusCode code = StatusCode::kInternal;
  if (error.kind == ErrorKind::kTooManySteps || error.kind == ErrorKind::kTooMuchMemory) {
    code = StatusCode::kResourceExhausted;
  }
  if (error.kind == ErrorKind::kDeadline) code = StatusCode::kDeadlineExceeded;
  return status_of(code, "failed to evaluate expression: {}", error.text);
}

}  // namespace

StatusOr<std::shared_ptr<const Rule>> Rule::make(const base::v1::RuleDefinition& definition) {
  std::shared_ptr<Rule> rule(new Rule);
  std::map<std::string, base::v1::AttributeType> parameters;
  for (const auto& [name, type] : definition.arguments()) parameters.emplace(name, type);
  std::vector<std::string> names;
  for (const auto& [name, type] : parameters) {
    names.push_back(name);
    rule->types_.push_back(type);
  }
  names.push_back("context");
  auto program = Program::make(definition.expression().expr(), names);
  if (!program.ok()) {
    return status_of(program.status().code(), "rule '{}': {}", definition.name(), message_of(program.status()));
  }
  rule->program_ = *std::move(program);
  return std::shared_ptr<const Rule>(std::move(rule));
}

StatusOr<bool> Rule::holds(std::span<const Argument> arguments, const google::protobuf::Struct* data,
                           const Limits& limits) const {
  Heap heap(limits);
  std::array<Value, kParametersInline> inline_values;
  std::vector<Value> more_values;
  Value* values = inline_values.data();
  if (program_->variable_count() > kParametersInline) {
    more_values.resize(program_->variable_count());
    values = more_values.data();
  }
  for (const Argument& argument : arguments) {
    const auto place = program_->place_of(argument.parameter);
    if (!place || *place >= types_.size()) continue;
    values[*place] = argument.value == nullptr ? zero_of(types_[*place]) : from_attribute(*argument.value, heap);
  }
  const MapEntry context{Value::text("data"),
                         data == nullptr ? Value::map(std::span<const MapEntry>()) : Value::map(*data)};
  values[types_.size()] = Value::map({&context, 1});
  const Value result = program_->run({values, program_->variable_count()}, heap);
  if (result.is_error()) return status_of_error(result.error());
  if (result.is(ValueKind::kBool)) return result.boolean();
  return internal_error("failed to evaluate expression: it gives {}, not a condition", type_name(result.kind()));
}

}  // namespace headgate::engine::cel
