#include "engine/check/values.h"

#include "engine/model/errors.h"

namespace headgate::engine {

namespace {

std::string type_name(const google::protobuf::Any& value) {
  const std::string& url = value.type_url();
  return url.substr(url.rfind('/') + 1);
}

Status mismatch(const std::string& wanted, const std::string& came) {
  return api_error(base::v1::ERROR_CODE_ATTRIBUTE_TYPE_MISMATCH,
                   fmt::format("a value of {} was given where {} is wanted", came.empty() ? "nothing" : came, wanted));
}

template <typename T>
google::protobuf::Any packed() {
  google::protobuf::Any any;
  any.PackFrom(T());
  return any;
}

}  // namespace

std::string message_of_type(base::v1::AttributeType type) { return type_name(zero_of(type)); }

google::protobuf::Any zero_of(base::v1::AttributeType type) {
  switch (type) {
    case base::v1::ATTRIBUTE_TYPE_BOOLEAN: return packed<base::v1::BooleanValue>();
    case base::v1::ATTRIBUTE_TYPE_BOOLEAN_ARRAY: return packed<base::v1::BooleanArrayValue>();
    case base::v1::ATTRIBUTE_TYPE_STRING: return packed<base::v1::StringValue>();
    case base::v1::ATTRIBUTE_TYPE_STRING_ARRAY: return packed<base::v1::StringArrayValue>();
    case base::v1::ATTRIBUTE_TYPE_INTEGER: return packed<base::v1::IntegerValue>();
    case base::v1::ATTRIBUTE_TYPE_INTEGER_ARRAY: return packed<base::v1::IntegerArrayValue>();
    case base::v1::ATTRIBUTE_TYPE_DOUBLE: return packed<base::v1::DoubleValue>();
    case base::v1::ATTRIBUTE_TYPE_DOUBLE_ARRAY: return packed<base::v1::DoubleArrayValue>();
    default: return {};
  }
}

StatusOr<bool> boolean_of(const google::protobuf::Any& value) {
  base::v1::BooleanValue message;
  const std::string wanted = message.GetTypeName(), came = type_name(value);
  if (came != wanted) return mismatch(wanted, came);
  if (!message.ParseFromString(value.value())) return mismatch(wanted, "broken bytes");
  return message.data();
}

StatusOr<std::optional<RuleCall>> call_of(Facts& facts, const base::v1::EntityDefinition& definition,
                                          const base::v1::Entity& entity, const Arguments* arguments) {
  RuleCall call;
  bool known = true;
  if (arguments == nullptr) return std::optional<RuleCall>(std::move(call));
  for (const base::v1::Argument& argument : *arguments) {
    if (!argument.has_computed_attribute()) {
      return api_error(base::v1::ERROR_CODE_INVALID_ARGUMENT, "an argument names no attribute");
    }
    const std::string& name = argument.computed_attribute().name();
    const auto attribute = definition.attributes().find(name);
    if (attribute == definition.attributes().end()) continue;  // the rule will miss it
    const Facts::Value* value = facts.attribute({entity.type(), entity.id(), name});
    if (value == nullptr) {
      known = false;
      continue;
    }
    const base::v1::AttributeType type = attribute->second.type();
    call.arguments[name] = value->stored ? *value->stored : value->contextual ? *value->contextual : zero_of(type);
    const std::string came = type_name(call.arguments[name]);
    if (came != message_of_type(type)) return mismatch(message_of_type(type), came);
  }
  if (!known) return std::optional<RuleCall>();
  return std::optional<RuleCall>(std::move(call));
}

}  // namespace headgate::engine
