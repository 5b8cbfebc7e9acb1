#include <absl/strings/escaping.h>

#include <nlohmann/json.hpp>

#include "ops/demo/changes.h"
#include "ops/demo/subscriber.h"

namespace headgate::demo {
namespace {

constexpr const char* kChanged = "dev.headgate.permission.changed.v1";
constexpr const char* kGap = "dev.headgate.feed.gap.v1";

std::string value_of(const Envelope& envelope, const std::string& name) {
  const auto found = envelope.attributes.find(name);
  return found == envelope.attributes.end() ? "" : found->second;
}

}  // namespace

void Inbox::take(const Envelope& envelope) {
  const std::string type = value_of(envelope, "type");
  if (type == kGap) ++gaps_;
  if (type != kChanged) return;
  Arrival arrival{.id = value_of(envelope, "id"), .token = value_of(envelope, "snaptoken")};
  arrival.at_us = unix_us();
  base::v1::DataChanges changes;
  if (parse_payload(value_of(envelope, "datacontenttype"), envelope.data, changes)) {
    arrival.changes = texts_of(changes);
  }
  ledger_.arrived(sink_, arrival);
}

void Inbox::take_structured(const std::string& json) {
  const nlohmann::json object = nlohmann::json::parse(json, nullptr, /*allow_exceptions=*/false);
  Envelope envelope;
  if (object.is_object()) {
    for (const auto& [name, value] : object.items()) {
      if (name == "data") {
        envelope.data = value.is_string() ? value.get<std::string>() : value.dump();
      } else if (name == "data_base64" && value.is_string()) {
        absl::Base64Unescape(value.get<std::string>(), &envelope.data);
      } else {
        envelope.attributes[name] = value.is_string() ? value.get<std::string>() : value.dump();
      }
    }
  } else {
    envelope.attributes["type"] = kChanged;  // counts as an event without an id, so that nobody overlooks it
  }
  take(envelope);
}

}  // namespace headgate::demo
