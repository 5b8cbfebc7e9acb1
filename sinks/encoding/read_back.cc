#include <charconv>
#include <ctime>
#include <nlohmann/json.hpp>

#include "sinks/encoding/cloud_event.h"

namespace headgate::sinks {
namespace {

template <typename Number>
bool parse_number(std::string_view text, Number& out) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  return error == std::errc() && end == text.data() + text.size();
}

// "<xid>/<part>" or "<xid>/<part>/<kind>-<sequence>".
bool parse_place(std::string_view text, Cursor& cursor) {
  const size_t first = text.find('/');
  if (first == std::string_view::npos || !parse_number(text.substr(0, first), cursor.xid)) return false;
  const std::string_view rest = text.substr(first + 1);
  return parse_number(rest.substr(0, rest.find('/')), cursor.part);
}

std::optional<EventKind> kind_of_type(std::string_view type) {
  for (int kind = 0; kind <= static_cast<int>(EventKind::kSchemaChanged); ++kind) {
    if (type_of(static_cast<EventKind>(kind)) == type) return static_cast<EventKind>(kind);
  }
  return std::nullopt;
}

}  // namespace

std::optional<int64_t> parse_rfc3339(std::string_view text) {
  constexpr std::string_view kShape = "0000-00-00T00:00:00.000000Z";
  if (text.size() != kShape.size()) return std::nullopt;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool digit = text[i] >= '0' && text[i] <= '9';
    if (kShape[i] == '0' ? !digit : text[i] != kShape[i]) return std::nullopt;
  }
  const auto number = [&](size_t at, size_t length) {
    int value = 0;
    for (size_t i = at; i < at + length; ++i) value = 10 * value + (text[i] - '0');
    return value;
  };
  std::tm utc{};
  utc.tm_year = number(0, 4) - 1900;
  utc.tm_mon = number(5, 2) - 1;
  utc.tm_mday = number(8, 2);
  utc.tm_hour = number(11, 2);
  utc.tm_min = number(14, 2);
  utc.tm_sec = number(17, 2);
  return timegm(&utc) * int64_t{1'000'000} + number(20, 6);
}

StatusOr<Found> read_back(const AttributeLookup& get) {
  const auto type = get("type");
  const std::optional<EventKind> kind = kind_of_type(type.value_or(""));
  if (!kind) return invalid_argument("no event of Headgate: type '{}'", type.value_or(""));
  if (*kind == EventKind::kHeartbeat) return status_of(StatusCode::kNotFound, "a heartbeat is nobody's place");
  const auto tenant = get("partitionkey");
  const auto id = get("id");
  const auto sequence = get("sequence");
  if (!tenant || !id || !sequence) return invalid_argument("no event of Headgate: an attribute is missing");
  Found found{*tenant, {}, *kind};
  const bool has_tenant = id->size() > tenant->size() && id->compare(0, tenant->size(), *tenant) == 0;
  if (!has_tenant || (*id)[tenant->size()] != '/' ||
      !parse_place(std::string_view(*id).substr(tenant->size() + 1), found.cursor) ||
      !parse_number(std::string_view(*sequence), found.cursor.sequence)) {
    return invalid_argument("no event of Headgate: id '{}', sequence '{}'", *id, *sequence);
  }
  found.cursor.snap_token = get("snaptoken").value_or("");
  found.cursor.incarnation = get("incarnation").value_or("");
  found.cursor.more_parts = get("moreparts").value_or("") == "true";
  found.cursor.snapshot = get("snapshotcontinuation").value_or("");
  const int64_t started_at_us = parse_rfc3339(get("time").value_or("")).value_or(0);
  if (is_of_history(*kind) && started_at_us != 0) {
    found.cursor.identity = identity_text(found.cursor.xid, started_at_us);
  }
  return found;
}

StatusOr<Found> read_back_structured(std::string_view line) {
  const auto json = nlohmann::json::parse(line, nullptr, false);
  if (!json.is_object()) return invalid_argument("no event of Headgate: not a JSON object");
  return read_back([&](std::string_view name) -> std::optional<std::string> {
    const auto it = json.find(std::string(name));
    if (it == json.end() || !it->is_string()) return std::nullopt;
    return it->get<std::string>();
  });
}

bool already_held(const Cursor& held, const Delivery& delivery) {
  const Event& event = *delivery.event;
  if (delivery.sequence > held.sequence) return false;
  // These share the places of transactions; the number is all that tells.
  if (!is_of_history(event.kind)) return true;
  if (held.incarnation != event.incarnation) return false;
  if (event.xid == held.xid && event.started_at_us != 0 && !held.identity.empty() &&
      held.identity != identity_text(event.xid, event.started_at_us)) {
    return false;  // a transaction of a history that was replaced had the same xid
  }
  return std::pair(event.xid, event.part) <= std::pair(held.xid, held.part);
}

}  // namespace headgate::sinks
