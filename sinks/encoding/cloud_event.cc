#include "sinks/encoding/cloud_event.h"

#include <google/protobuf/util/json_util.h>

#include <charconv>
#include <ctime>
#include <nlohmann/json.hpp>

#include "base/v1/base.pb.h"

namespace headgate::sinks {
namespace {

namespace pb = ::base::v1;

constexpr std::string_view kProtobufType = "application/protobuf";
constexpr std::string_view kJsonType = "application/json";

// A URI path segment: unreserved characters and those sub-delimiters that tenant ids use.
void append_uri_segment(std::string& out, std::string_view text) {
  for (const char c : text) {
    const bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                       std::string_view("-._~@:+*").find(c) != std::string_view::npos;
    if (plain) {
      out += c;
    } else {
      fmt::format_to(std::back_inserter(out), "%{:02X}", static_cast<unsigned char>(c));
    }
  }
}

void append_json_string(std::string& out, std::string_view text) {
  const auto is_plain = [](char c) { return c >= ' ' && c < 0x7f && c != '"' && c != '\\'; };
  if (std::all_of(text.begin(), text.end(), is_plain)) {
    out += '"';
    out += text;
    out += '"';
    return;
  }
  out += nlohmann::json(std::string(text)).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

void append_base64(std::string& out, std::string_view bytes) {
  constexpr std::string_view kAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  for (size_t i = 0; i < bytes.size(); i += 3) {
    uint32_t word = 0;
    for (size_t j = 0; j < 3; ++j) word = word << 8 | (i + j < bytes.size() ? static_cast<uint8_t>(bytes[i + j]) : 0U);
    for (size_t j = 0; j < 4; ++j) out += i + j <= bytes.size() ? kAlphabet[word >> (18 - 6 * j) & 63] : '=';
  }
}

const pb::Entity* entity_of_change(const pb::DataChange& change) {
  if (change.has_tuple()) return &change.tuple().entity();
  if (change.has_attribute()) return &change.attribute().entity();
  return nullptr;
}

// Type and id that all changes share; an empty text where they differ.
std::pair<std::string, std::string> common_entity(const Event& event) {
  pb::DataChanges changes;
  if (event.kind != EventKind::kChanges || !changes.ParseFromString(event.payload)) return {};
  std::pair<std::string, std::string> common;
  for (int i = 0; i < changes.data_changes_size(); ++i) {
    const pb::Entity* entity = entity_of_change(changes.data_changes(i));
    if (entity == nullptr) return {};
    if (i == 0) common = {entity->type(), entity->id()};
    if (common.first != entity->type()) return {};
    if (common.second != entity->id()) common.second.clear();
  }
  return common;
}

StatusOr<std::string> make_json(const Event& event) {
  pb::DataChanges changes;
  if (!changes.ParseFromString(event.payload)) {
    return invalid_argument("event {}/{}/{}: the payload is not a DataChanges message", event.tenant, event.xid,
                            event.part);
  }
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  std::string json;
  const auto status = google::protobuf::util::MessageToJsonString(changes, &json, options);
  if (!status.ok()) {
    return invalid_argument("event {}/{}/{}: the payload cannot be written as JSON: {}", event.tenant, event.xid,
                            event.part, status.ToString());
  }
  return json;
}

std::string control_json(const Event& event) {
  std::string json = "{\"tenant\":";
  append_json_string(json, event.tenant);
  json += ",\"snap_token\":";
  append_json_string(json, event.snap_token);
  if (!event.reason.empty()) {
    json += ",\"reason\":";
    append_json_string(json, event.reason);
  }
  return json + "}";
}

std::string confluent_frame(uint32_t schema_id, std::string_view payload) {
  std::string frame(1, '\0');
  for (int shift = 24; shift >= 0; shift -= 8) frame += static_cast<char>(schema_id >> shift & 0xff);
  frame += '\0';  // the first message of the file
  frame += payload;
  return frame;
}

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

}  // namespace

std::string_view kind_word(EventKind kind) {
  switch (kind) {
    case EventKind::kChanges: return "changes";
    case EventKind::kHeartbeat: return "heartbeat";
    case EventKind::kGap: return "gap";
    case EventKind::kSnapshotBegin: return "snapshot-begin";
    case EventKind::kSnapshotEnd: return "snapshot-end";
  }
  return "unknown";
}

std::string_view type_of(EventKind kind) {
  switch (kind) {
    case EventKind::kChanges: return "dev.headgate.permission.changed.v1";
    case EventKind::kHeartbeat: return "dev.headgate.feed.heartbeat.v1";
    case EventKind::kGap: return "dev.headgate.feed.gap.v1";
    case EventKind::kSnapshotBegin: return "dev.headgate.feed.snapshot-begin.v1";
    case EventKind::kSnapshotEnd: return "dev.headgate.feed.snapshot-end.v1";
  }
  return "dev.headgate.feed.unknown.v1";
}

std::string event_id(const Delivery& delivery) {
  const Event& event = *delivery.event;
  std::string id = fmt::format("{}/{}/{}", event.tenant, event.xid, event.part);
  if (event.kind != EventKind::kChanges) id += fmt::format("/{}-{}", kind_word(event.kind), delivery.sequence);
  return id;
}

std::string rfc3339(int64_t unix_us) {
  int64_t seconds = unix_us / 1'000'000;
  int64_t micros = unix_us % 1'000'000;
  if (micros < 0) {
    micros += 1'000'000;
    --seconds;
  }
  const time_t time = seconds;
  std::tm utc{};
  gmtime_r(&time, &utc);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}Z", utc.tm_year + 1900, utc.tm_mon + 1, utc.tm_mday,
                     utc.tm_hour, utc.tm_min, utc.tm_sec, micros);
}

const std::string& entity_of(const Event& event) {
  return *event.derived
              .get(DerivedTexts::kEntity,
                   [&]() -> StatusOr<std::string> {
                     const auto [type, id] = common_entity(event);
                     return type.empty() || id.empty() ? std::string() : type + ":" + id;
                   })
              .first;
}

const std::string& entity_type_of(const Event& event) {
  return *event.derived
              .get(DerivedTexts::kEntityType, [&]() -> StatusOr<std::string> { return common_entity(event).first; })
              .first;
}

StatusOr<const std::string*> json_of(const Event& event) {
  auto [text, status] = event.derived.get(DerivedTexts::kJson, [&] { return make_json(event); });
  if (!status.ok()) return status;
  return text;
}

size_t Encoded::bytes() const {
  size_t bytes = data_.size() + content_type_.size();
  for (const Attribute& attribute : *this) bytes += attribute.name.size() + attribute.value.size();
  return bytes;
}

StatusOr<Encoder> Encoder::make(const EncodingSettings& settings) {
  if (settings.format == PayloadFormat::kConfluent && settings.schema_id == 0) {
    return invalid_argument("the confluent format needs schema_id, the id that the schema registry gave");
  }
  if (settings.cluster.empty()) return invalid_argument("cluster may not be empty");
  return Encoder(settings);
}

Status Encoder::set_data(const Event& event, Encoded& out) const {
  out.content_type_ = settings_.format == PayloadFormat::kJson ? kJsonType : kProtobufType;
  const bool control = event.kind != EventKind::kChanges;
  if (settings_.format == PayloadFormat::kConfluent) {
    pb::DataChanges position;
    if (control) position.set_snap_token(event.snap_token);
    out.own_data_ = confluent_frame(settings_.schema_id, control ? position.SerializeAsString() : event.payload);
    out.data_ = out.own_data_;
  } else if (control || event.payload.empty()) {
    // Never without data: a record without a value would be a tombstone on a compacted topic.
    out.own_data_ = control_json(event);
    out.data_ = out.own_data_;
    out.content_type_ = kJsonType;
  } else if (settings_.format == PayloadFormat::kJson) {
    HG_ASSIGN_OR_RETURN(const std::string* json, json_of(event));
    out.data_ = *json;
  } else {
    out.data_ = event.payload;
  }
  return ok_status();
}

Status Encoder::encode(const Delivery& delivery, Encoded& out) const {
  const Event& event = *delivery.event;
  out.count_ = 0;
  out.id_ = event_id(delivery);
  out.source_ = "/headgate/";
  append_uri_segment(out.source_, settings_.cluster);
  out.source_ += "/tenants/";
  append_uri_segment(out.source_, event.tenant);
  out.sequence_ = std::to_string(delivery.sequence);
  HG_RETURN_IF_ERROR(set_data(event, out));

  out.add("specversion", "1.0");
  out.add("id", out.id_);
  out.add("source", out.source_);
  out.add("type", type_of(event.kind));
  if (event.kind == EventKind::kChanges) {
    if (const std::string& entity = entity_of(event); !entity.empty()) out.add("subject", entity);
    if (!settings_.dataschema.empty()) out.add("dataschema", settings_.dataschema);
  }
  if (event.started_at_us != 0) {
    out.time_ = rfc3339(event.started_at_us);
    out.add("time", out.time_);
  }
  if (!event.snap_token.empty()) out.add("snaptoken", event.snap_token);
  if (!delivery.previous_token.empty()) out.add("previoustoken", delivery.previous_token);
  out.add("sequence", out.sequence_);
  out.add("partitionkey", event.tenant);
  if (event.more_parts) out.add("moreparts", "true");
  if (!event.incarnation.empty()) out.add("incarnation", event.incarnation);
  if (!event.reason.empty()) out.add("reason", event.reason);
  return ok_status();
}

Status Encoder::encode_structured(const Delivery& delivery, std::string& out) const {
  Encoded encoded;
  HG_RETURN_IF_ERROR(encode(delivery, encoded));
  out += '{';
  for (const Attribute& attribute : encoded) {
    append_json_string(out, attribute.name);
    out += ':';
    append_json_string(out, attribute.value);
    out += ',';
  }
  out += "\"datacontenttype\":";
  append_json_string(out, encoded.content_type());
  if (encoded.content_type() == kJsonType) {
    out += ",\"data\":";
    out += encoded.data();
  } else {
    out += ",\"data_base64\":\"";
    append_base64(out, encoded.data());
    out += '"';
  }
  out += '}';
  return ok_status();
}

StatusOr<Found> read_back(const AttributeLookup& get) {
  const auto tenant = get("partitionkey");
  const auto id = get("id");
  const auto sequence = get("sequence");
  if (!tenant || !id || !sequence) return invalid_argument("no event of Headgate: an attribute is missing");
  Found found{*tenant, {}};
  const bool has_tenant = id->size() > tenant->size() && id->compare(0, tenant->size(), *tenant) == 0;
  if (!has_tenant || (*id)[tenant->size()] != '/' ||
      !parse_place(std::string_view(*id).substr(tenant->size() + 1), found.cursor) ||
      !parse_number(std::string_view(*sequence), found.cursor.sequence)) {
    return invalid_argument("no event of Headgate: id '{}', sequence '{}'", *id, *sequence);
  }
  found.cursor.snap_token = get("snaptoken").value_or("");
  found.cursor.incarnation = get("incarnation").value_or("");
  found.cursor.more_parts = get("moreparts").value_or("") == "true";
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
  if (held.incarnation != event.incarnation || delivery.sequence > held.sequence) return false;
  return std::pair(event.xid, event.part) <= std::pair(held.xid, held.part);
}

}  // namespace headgate::sinks
