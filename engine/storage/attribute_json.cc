#include "engine/storage/attribute_json.h"

#include <google/protobuf/message.h>
#include <google/protobuf/util/json_util.h>

#include "base/v1/base.pb.h"

namespace headgate::engine {

namespace {

// The JSON reader writes lists unpacked; clients that compare bytes expect what a serializer of the type writes.
bool make_canonical(google::protobuf::Any& value) {
  const std::string& url = value.type_url();
  const auto* descriptor =
      google::protobuf::DescriptorPool::generated_pool()->FindMessageTypeByName(url.substr(url.rfind('/') + 1));
  if (descriptor == nullptr) return false;
  const std::unique_ptr<google::protobuf::Message> message(
      google::protobuf::MessageFactory::generated_factory()->GetPrototype(descriptor)->New());
  return message->ParseFromString(value.value()) && message->SerializeToString(value.mutable_value());
}

}  // namespace

StatusOr<google::protobuf::Any> attribute_value_from_json(const std::string& json) {
  google::protobuf::Any value;
  const auto parsed = google::protobuf::util::JsonStringToMessage(json, &value);
  if (!parsed.ok()) {
    return internal_error("an attribute's stored value cannot be read: {}", parsed.message().ToString());
  }
  if (!make_canonical(value)) return internal_error("an attribute's stored value is of an unknown type");
  return value;
}

StatusOr<std::string> attribute_value_to_json(const google::protobuf::Any& value) {
  std::string json;
  const auto printed = google::protobuf::util::MessageToJsonString(value, &json);
  if (!printed.ok()) return invalid_argument("an attribute's value cannot be stored: {}", printed.message().ToString());
  return json;
}

}  // namespace headgate::engine
