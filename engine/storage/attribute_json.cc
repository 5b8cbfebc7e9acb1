#include "engine/storage/attribute_json.h"

#include <google/protobuf/message.h>
#include <google/protobuf/util/json_util.h>

#include <algorithm>
#include <memory>

#include "base/v1/base.pb.h"
#include "engine/model/errors.h"

namespace headgate::engine {

namespace {

using google::protobuf::Any;
using google::protobuf::Message;

// The message inside; null when its type is no value of base.v1 or the bytes do not fit the type.
std::unique_ptr<Message> unpack(const Any& value) {
  const std::string& url = value.type_url();
  const std::string name = url.substr(url.rfind('/') + 1);
  const auto* type = google::protobuf::DescriptorPool::generated_pool()->FindMessageTypeByName(name);
  constexpr std::string_view kEnd = "Value";
  const bool is_value = type != nullptr && type->file()->package() == "base.v1" && name.size() > kEnd.size() &&
                        name.compare(name.size() - kEnd.size(), kEnd.size(), kEnd) == 0;
  if (!is_value) return nullptr;
  std::unique_ptr<Message> message(google::protobuf::MessageFactory::generated_factory()->GetPrototype(type)->New());
  return message->ParseFromString(value.value()) ? std::move(message) : nullptr;
}

bool has_zero_byte(const Message& message) {
  const auto has_zero = [](const std::string& text) { return text.find('\0') != std::string::npos; };
  if (const auto* one = google::protobuf::DynamicCastToGenerated<base::v1::StringValue>(&message)) {
    return has_zero(one->data());
  }
  const auto* list = google::protobuf::DynamicCastToGenerated<base::v1::StringArrayValue>(&message);
  return list != nullptr && std::any_of(list->data().begin(), list->data().end(), has_zero);
}

}  // namespace

StatusOr<google::protobuf::Any> attribute_value_from_json(const std::string& json) {
  google::protobuf::Any value;
  // The reader's own words quote the value, and may cut it inside of a character.
  if (!google::protobuf::util::JsonStringToMessage(json, &value).ok()) {
    return internal_error("an attribute's stored value is no JSON of an Any");
  }
  const std::unique_ptr<Message> message = unpack(value);
  if (message == nullptr) return internal_error("an attribute's stored value is of an unknown type");
  // The JSON reader writes lists unpacked; clients that compare bytes expect what a serializer of the type writes.
  message->SerializeToString(value.mutable_value());
  return value;
}

StatusOr<std::string> attribute_value_to_json(const google::protobuf::Any& value) {
  const std::unique_ptr<Message> message = unpack(value);
  if (message == nullptr) {
    return api_error(base::v1::ERROR_CODE_VALIDATION, "an attribute's value is no value of base.v1");
  }
  if (has_zero_byte(*message)) {
    return api_error(base::v1::ERROR_CODE_VALIDATION, "an attribute's value holds a zero byte");
  }
  // With the usual prefix of its type, whatever the client's was: the JSON reader takes no other.
  Any canonical;
  canonical.PackFrom(*message);
  std::string json;
  const auto printed = google::protobuf::util::MessageToJsonString(canonical, &json);
  if (!printed.ok()) return invalid_argument("an attribute's value cannot be stored: {}", printed.message().ToString());
  return json;
}

}  // namespace headgate::engine
