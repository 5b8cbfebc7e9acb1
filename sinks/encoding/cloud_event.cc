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

// Unreserved characters of a URI path segment, and those sub-delimiters that tenant ids use.
bool is_plain_in_uri(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
         std::string_view("-._~@:+*").find(c) != std::string_view::npos;
}

void append_uri_segment(std::string& out, std::string_view text) {
  for (const char c : text) {
    if (is_plain_in_uri(c)) {
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
  const auto byte = [&](size_t i) { return static_cast<uint32_t>(static_cast<uint8_t>(bytes[i])); };
  size_t at = out.size();
  out.resize(at + (bytes.size() + 2) / 3 * 4, '=');
  size_t i = 0;
  for (; i + 3 <= bytes.size(); i += 3) {
    const uint32_t word = byte(i) << 16 | byte(i + 1) << 8 | byte(i + 2);
    for (int shift = 18; shift >= 0; shift -= 6) out[at++] = kAlphabet[word >> shift & 63];
  }
  if (i == bytes.size()) return;
  const bool two = i + 2 == bytes.size();
  const uint32_t word = byte(i) << 16 | (two ? byte(i + 1) << 8 : 0U);
  out[at++] = kAlphabet[word >> 18];
  out[at++] = kAlphabet[word >> 12 & 63];
  if (two) out[at] = kAlphabet[word >> 6 & 63];
}

const pb::Entity* entity_of_change(const pb::DataChange& change) {
  if (change.has_tuple()) return &change.tuple().entity();
  if (change.has_attribute()) return &change.attribute().entity();
  return nullptr;
}

// Type and id that all changes share; an empty text where they differ.
std::pair<std::string, std::string> common_entity(const Event& event) {
  // A message that is parsed into again keeps its parts, so that the usual small event allocates nothing.
  constexpr size_t kKeptBytes = 4096;
  thread_local pb::DataChanges kept;
  pb::DataChanges large;
  pb::DataChanges& changes = event.payload.size() <= kKeptBytes ? kept : large;
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

template <typename Number>
void append_number(std::string& out, Number number) {
  const fmt::format_int digits(number);
  out.append(digits.data(), digits.size());
}

void set_event_id(const Delivery& delivery, std::string& out) {
  const Event& event = *delivery.event;
  out = event.tenant;
  out += '/';
  append_number(out, event.xid);
  out += '/';
  append_number(out, event.part);
  if (event.kind == EventKind::kChanges) return;
  out += '/';
  out += kind_word(event.kind);
  out += '-';
  append_number(out, delivery.sequence);
}

}  // namespace

std::string_view kind_word(EventKind kind) {
  switch (kind) {
    case EventKind::kChanges: return "changes";
    case EventKind::kHeartbeat: return "heartbeat";
    case EventKind::kGap: return "gap";
    case EventKind::kSnapshotBegin: return "snapshot-begin";
    case EventKind::kSnapshotPage: return "snapshot-page";
    case EventKind::kSnapshotEnd: return "snapshot-end";
    case EventKind::kTenantCreated: return "tenant-created";
    case EventKind::kTenantRemoved: return "tenant-removed";
    case EventKind::kSchemaChanged: return "schema-changed";
  }
  return "unknown";
}

std::string_view type_of(EventKind kind) {
  switch (kind) {
    case EventKind::kChanges: return "dev.headgate.permission.changed.v1";
    case EventKind::kHeartbeat: return "dev.headgate.feed.heartbeat.v1";
    case EventKind::kGap: return "dev.headgate.feed.gap.v1";
    case EventKind::kSnapshotBegin: return "dev.headgate.feed.snapshot-begin.v1";
    case EventKind::kSnapshotPage: return "dev.headgate.feed.snapshot-page.v1";
    case EventKind::kSnapshotEnd: return "dev.headgate.feed.snapshot-end.v1";
    case EventKind::kTenantCreated: return "dev.headgate.tenant.created.v1";
    case EventKind::kTenantRemoved: return "dev.headgate.tenant.removed.v1";
    case EventKind::kSchemaChanged: return "dev.headgate.schema.changed.v1";
  }
  return "dev.headgate.feed.unknown.v1";
}

std::string event_id(const Delivery& delivery) {
  std::string id;
  set_event_id(delivery, id);
  return id;
}

bool has_rfc3339(int64_t unix_us) {
  constexpr int64_t kSecond = 1'000'000, kYear0 = -62'167'219'200 * kSecond, kYear10000 = 253'402'300'800 * kSecond;
  return unix_us >= kYear0 && unix_us < kYear10000;
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

Encoder::Encoder(EncodingSettings settings) : settings_(std::move(settings)), source_start_("/headgate/") {
  append_uri_segment(source_start_, settings_.cluster);
  source_start_ += "/tenants/";
}

// Events of one second follow each other; their times differ in the last digits alone.
void Encoder::set_time(int64_t unix_us, std::string& out) const {
  constexpr int64_t kSecond = 1'000'000;
  int64_t micros = unix_us % kSecond;
  if (micros < 0) micros += kSecond;
  const int64_t second = unix_us - micros;
  if (second_text_.empty() || second != second_) {
    second_ = second;
    second_text_ = rfc3339(second);
  }
  out = second_text_;
  // "...:05.000000Z"
  for (size_t i = out.size() - 2; micros > 0; --i, micros /= 10) out[i] = static_cast<char>('0' + micros % 10);
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
  set_event_id(delivery, out.id_);
  out.source_ = source_start_;
  append_uri_segment(out.source_, event.tenant);
  out.sequence_.clear();
  append_number(out.sequence_, delivery.sequence);
  HG_RETURN_IF_ERROR(set_data(event, out));

  out.add("specversion", "1.0");
  out.add("id", out.id_);
  out.add("source", out.source_);
  out.add("type", type_of(event.kind));
  if (event.kind == EventKind::kChanges) {
    if (const std::string& entity = entity_of(event); !entity.empty()) out.add("subject", entity);
    if (!settings_.dataschema.empty()) out.add("dataschema", settings_.dataschema);
  }
  if (event.started_at_us != 0 && has_rfc3339(event.started_at_us)) {
    set_time(event.started_at_us, out.time_);
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
