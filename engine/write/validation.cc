#include "engine/write/validation.h"

#include <google/protobuf/util/json_util.h>

#include <set>
#include <string_view>
#include <unordered_set>

#include "engine/model/errors.h"

namespace headgate::engine {

namespace {

using base::v1::Attribute;
using base::v1::AttributeFilter;
using base::v1::AttributeType;
using base::v1::EntityDefinition;
using base::v1::SchemaDefinition;
using base::v1::Tuple;
using base::v1::TupleFilter;

// Zero bytes cannot be in any part that passed the field rules.
std::string key_of(const Tuple& tuple) {
  std::string key;
  for (const std::string* part : {&tuple.entity().type(), &tuple.entity().id(), &tuple.relation(),
                                  &tuple.subject().type(), &tuple.subject().id(), &tuple.subject().relation()}) {
    key += *part;
    key += '\0';
  }
  return key;
}

std::string key_of(const Attribute& attribute) {
  return attribute.entity().type() + '\0' + attribute.entity().id() + '\0' + attribute.attribute();
}

template <typename T>
std::vector<T> first_of_each_key(const google::protobuf::RepeatedPtrField<T>& items) {
  if (items.size() == 1) return {items[0]};
  std::unordered_set<std::string> seen;
  std::vector<T> kept;
  kept.reserve(items.size());
  for (const T& item : items) {
    if (seen.insert(key_of(item)).second) kept.push_back(item);
  }
  return kept;
}

StatusOr<const EntityDefinition*> entity_of(const SchemaDefinition& schema, const std::string& type) {
  if (const auto found = schema.entity_definitions().find(type); found != schema.entity_definitions().end()) {
    return &found->second;
  }
  return api_error(schema.rule_definitions().contains(type) ? base::v1::ERROR_CODE_ENTITY_DEFINITION_NOT_FOUND
                                                            : base::v1::ERROR_CODE_SCHEMA_NOT_FOUND);
}

template <typename Message>
Status decodes(const google::protobuf::Any& value) {
  if (!value.Is<Message>()) return api_error(base::v1::ERROR_CODE_ATTRIBUTE_TYPE_MISMATCH);
  Message message;
  if (value.UnpackTo(&message)) return ok_status();
  return internal_error("the attribute's bytes are no {}", Message::descriptor()->name());
}

Status check_value(const google::protobuf::Any& value, AttributeType type) {
  using namespace base::v1;
  switch (type) {
    case ATTRIBUTE_TYPE_BOOLEAN: return decodes<BooleanValue>(value);
    case ATTRIBUTE_TYPE_BOOLEAN_ARRAY: return decodes<BooleanArrayValue>(value);
    case ATTRIBUTE_TYPE_STRING: return decodes<StringValue>(value);
    case ATTRIBUTE_TYPE_STRING_ARRAY: return decodes<StringArrayValue>(value);
    case ATTRIBUTE_TYPE_INTEGER: return decodes<IntegerValue>(value);
    case ATTRIBUTE_TYPE_INTEGER_ARRAY: return decodes<IntegerArrayValue>(value);
    case ATTRIBUTE_TYPE_DOUBLE: return decodes<DoubleValue>(value);
    case ATTRIBUTE_TYPE_DOUBLE_ARRAY: return decodes<DoubleArrayValue>(value);
    default: return api_error(base::v1::ERROR_CODE_ATTRIBUTE_TYPE_MISMATCH);
  }
}

bool has_repetition(const google::protobuf::RepeatedPtrField<std::string>& texts) {
  return std::set<std::string_view>(texts.begin(), texts.end()).size() != static_cast<size_t>(texts.size());
}

}  // namespace

std::vector<Tuple> distinct(const google::protobuf::RepeatedPtrField<Tuple>& tuples) {
  return first_of_each_key(tuples);
}

std::vector<Attribute> distinct(const google::protobuf::RepeatedPtrField<Attribute>& attributes) {
  return first_of_each_key(attributes);
}

Status validate(const Tuple& tuple, const SchemaDefinition& schema) {
  HG_ASSIGN_OR_RETURN(const EntityDefinition* entity, entity_of(schema, tuple.entity().type()));
  const base::v1::Subject& subject = tuple.subject();
  if (tuple.entity().type() == subject.type() && tuple.entity().id() == subject.id() &&
      tuple.relation() == subject.relation()) {
    return api_error(base::v1::ERROR_CODE_ENTITY_AND_SUBJECT_CANNOT_BE_EQUAL);
  }
  const auto relation = entity->relations().find(tuple.relation());
  if (relation == entity->relations().end()) {
    return api_error(base::v1::ERROR_CODE_RELATION_DEFINITION_NOT_FOUND);
  }
  for (const base::v1::RelationReference& reference : relation->second.relation_references()) {
    if (reference.type() == subject.type() && reference.relation() == subject.relation()) return ok_status();
  }
  return api_error(base::v1::ERROR_CODE_SUBJECT_TYPE_NOT_FOUND);
}

Status validate(const Attribute& attribute, const SchemaDefinition& schema) {
  HG_ASSIGN_OR_RETURN(const EntityDefinition* entity, entity_of(schema, attribute.entity().type()));
  const auto definition = entity->attributes().find(attribute.attribute());
  if (definition == entity->attributes().end()) {
    return api_error(base::v1::ERROR_CODE_ATTRIBUTE_DEFINITION_NOT_FOUND);
  }
  return check_value(attribute.value(), definition->second.type());
}

Status check_size(const Attribute& attribute, size_t json_bytes_max) {
  // A control character has six bytes as JSON, a false in a list too; nothing has more than seven for one.
  constexpr size_t kExpansionMax = 7, kNames = 512;
  if (attribute.ByteSizeLong() * kExpansionMax + kNames < json_bytes_max) return ok_status();
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  std::string json;
  // What cannot be printed is refused where it is stored.
  if (!google::protobuf::util::MessageToJsonString(attribute, &json, options).ok()) return ok_status();
  if (json.size() <= json_bytes_max) return ok_status();
  return api_error(
      base::v1::ERROR_CODE_INVALID_ARGUMENT,
      fmt::format("the attribute {}:{}${} has {} bytes as JSON, and limits.attribute_json_bytes_max is {}; "
                  "split the value, or raise that limit together with those of all sinks",
                  attribute.entity().type(), attribute.entity().id(), attribute.attribute(), json.size(),
                  json_bytes_max));
}

bool is_empty(const TupleFilter& filter) {
  return filter.entity().type().empty() && filter.entity().ids().empty() && filter.relation().empty() &&
         filter.subject().type().empty() && filter.subject().ids().empty() && filter.subject().relation().empty();
}

bool is_empty(const AttributeFilter& filter) {
  return filter.entity().type().empty() && filter.entity().ids().empty() && filter.attributes().empty();
}

Status validate(const google::protobuf::RepeatedPtrField<base::v1::DataBundle>& bundles) {
  if (bundles.empty()) return api_error(base::v1::ERROR_CODE_SQL_BUILDER);
  for (const base::v1::DataBundle& bundle : bundles) {
    for (const base::v1::Operation& operation : bundle.operations()) {
      if (has_repetition(operation.relationships_write()) || has_repetition(operation.relationships_delete()) ||
          has_repetition(operation.attributes_write()) || has_repetition(operation.attributes_delete())) {
        return api_error(base::v1::ERROR_CODE_ALREADY_EXIST);
      }
    }
  }
  return ok_status();
}

}  // namespace headgate::engine
