#include "engine/storage/snapshot_place.h"

#include <absl/strings/escaping.h>

#include <nlohmann/json.hpp>

#include "engine/schema/source.h"

namespace headgate::engine {

namespace {

using nlohmann::json;

constexpr int kVersion = 1;
constexpr size_t kFields = 6;

Status malformed() { return invalid_argument("the continuation is not one of a snapshot page"); }

bool is_place(const json& fields) {
  if (!fields.is_array() || fields.size() != kFields || fields[0] != kVersion) return false;
  if (!fields[1].is_number_unsigned() || fields[1] == 0 || !fields[2].is_number_unsigned()) return false;
  if (!fields[3].is_number_integer() || !fields[4].is_boolean() || !fields[5].is_array()) return false;
  for (const json& part : fields[5]) {
    // The database would read a text only up to a zero byte.
    if (!part.is_string() || find_unreadable(part.get_ref<const std::string&>()) != std::string::npos) return false;
  }
  const size_t full = fields[4] ? SnapshotPlace::kAttributeKey : SnapshotPlace::kTupleKey;
  return fields[5].empty() || fields[5].size() == full;
}

}  // namespace

std::string encode_snapshot_place(const SnapshotPlace& place) {
  const json fields = {kVersion,
                       place.position,
                       place.newest_xid,
                       place.newest_started_at_us,
                       place.table == SnapshotPlace::Table::kAttributes,
                       place.key};
  return absl::Base64Escape(fields.dump());
}

StatusOr<SnapshotPlace> decode_snapshot_place(const std::string& text) {
  std::string bytes;
  if (!absl::Base64Unescape(text, &bytes)) return malformed();
  const json fields = json::parse(bytes, nullptr, false);
  if (!is_place(fields)) return malformed();
  return SnapshotPlace{.position = fields[1],
                       .newest_xid = fields[2],
                       .newest_started_at_us = fields[3],
                       .table = fields[4] ? SnapshotPlace::Table::kAttributes : SnapshotPlace::Table::kTuples,
                       .key = fields[5]};
}

}  // namespace headgate::engine
