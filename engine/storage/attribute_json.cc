#include "engine/storage/attribute_json.h"

#include <google/protobuf/util/json_util.h>

#include "base/v1/base.pb.h"

namespace headgate::engine {

StatusOr<google::protobuf::Any> attribute_value_from_json(const std::string& json) {
  google::protobuf::Any value;
  const auto parsed = google::protobuf::util::JsonStringToMessage(json, &value);
  if (!parsed.ok()) return internal_error("an attribute's stored value cannot be read: {}", parsed.message().ToString());
  return value;
}

StatusOr<std::string> attribute_value_to_json(const google::protobuf::Any& value) {
  std::string json;
  const auto printed = google::protobuf::util::MessageToJsonString(value, &json);
  if (!printed.ok()) return invalid_argument("an attribute's value cannot be stored: {}", printed.message().ToString());
  return json;
}

}  // namespace headgate::engine
