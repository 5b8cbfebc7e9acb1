// Values of attributes between a client's Any and the column: the input as JSON of the column, and as an Any of a
// client, whose first line is the type and whose rest are the bytes.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "engine/storage/attribute_json.h"
#include "tests/fuzz/input.h"
#include "tests/fuzz/properties.h"

namespace headgate::fuzz {
namespace {

// The type without what stands in front of it.
std::string_view type_of(const google::protobuf::Any& value) {
  const std::string_view url = value.type_url();
  return url.substr(std::min(url.rfind('/') + 1, url.size()));
}

// PostgreSQL takes no zero bytes in texts, escaped or not.
bool has_zero(const std::string& json) {
  const auto parsed = nlohmann::json::parse(json, nullptr, false);
  const auto in = [](const nlohmann::json& item) {
    return item.is_string() && item.get_ref<const std::string&>().find('\0') != std::string::npos;
  };
  return parsed.is_object() && std::any_of(parsed.begin(), parsed.end(), [&](const nlohmann::json& item) {
           return in(item) || (item.is_array() && std::any_of(item.begin(), item.end(), in));
         });
}

// JSON has it as "-0", which is a whole number without a sign; the column does not keep it either.
bool has_negative_zero(const std::string& json) {
  for (size_t at = json.find("-0"); at != std::string::npos; at = json.find("-0", at + 1)) {
    if (at + 2 == json.size() || json[at + 2] != '.') return true;
  }
  return false;
}

void demand_stable(const google::protobuf::Any& value, const std::string& json) {
  demand(is_utf8(json), "the JSON of a value is no UTF-8");
  demand(!has_zero(json), "PostgreSQL does not take this JSON: {}", json);
  const auto again = engine::attribute_value_from_json(json);
  demand(again.ok(), "the JSON of a value does not read: {}: {}", json, describe(again.status()));
  demand(type_of(*again) == type_of(value), "another type: {}", json);
  const auto same = engine::attribute_value_to_json(*again);
  demand(same.ok() && (*same == json || has_negative_zero(json)), "the JSON of a value changes: {}", json);
}

void try_column(const std::string& json) {
  const auto value = engine::attribute_value_from_json(json);
  if (!value.ok()) return demand_refusal(value.status(), {StatusCode::kInternal});
  // The column holds what PostgreSQL takes for JSON. Protobuf reads more.
  if (!nlohmann::json::accept(json) || has_zero(json)) return;
  const auto written = engine::attribute_value_to_json(*value);
  demand(written.ok(), "a value that was read cannot be written: {}", json);
  demand_stable(*value, *written);
  const auto again = engine::attribute_value_from_json(*written);
  demand(has_negative_zero(*written) || again->SerializeAsString() == value->SerializeAsString(),
         "a value changes on its way: {}", json);
}

void try_client(std::string_view input) {
  Input parts(input);
  google::protobuf::Any value;
  value.set_type_url(std::string(parts.line()));
  if (!is_utf8(value.type_url())) return;
  value.set_value(std::string(parts.rest()));
  const auto json = engine::attribute_value_to_json(value);
  if (!json.ok()) return demand_refusal(json.status(), {StatusCode::kInvalidArgument});
  demand_stable(value, *json);
}

}  // namespace

void attribute_json_target(std::string_view input) {
  if (is_utf8(input)) try_column(std::string(input));
  try_client(input);
}

}  // namespace headgate::fuzz
