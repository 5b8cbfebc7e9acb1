#include "sinks/encoding/cloud_event.h"

#include <ctime>

#include "base/json_text.h"
#include "sinks/encoding/event_data.h"

namespace headgate::sinks {
namespace {

constexpr std::string_view kProtobufType = "application/protobuf";
constexpr std::string_view kConfluentType = "application/x-confluent-protobuf";
constexpr std::string_view kJsonType = "application/json";
constexpr size_t kSequenceDigits = 20;  // of the largest uint64_t

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

template <typename Number>
void append_number(std::string& out, Number number) {
  const fmt::format_int digits(number);
  out.append(digits.data(), digits.size());
}

// As text they have the order of the numbers.
void set_padded(uint64_t number, std::string& out) {
  const fmt::format_int digits(number);
  out.assign(kSequenceDigits - digits.size(), '0');
  out.append(digits.data(), digits.size());
}

std::string_view format_word(PayloadFormat format) {
  switch (format) {
    case PayloadFormat::kProtobuf: return "protobuf";
    case PayloadFormat::kJson: return "json";
    case PayloadFormat::kConfluent: return "confluent";
  }
  return "unknown";
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
  // Heartbeats have no number of their own.
  if (event.kind == EventKind::kHeartbeat) return append_number(out, event.started_at_us);
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

size_t Encoded::bytes() const {
  size_t bytes = data_.size() + content_type_.size();
  for (const Attribute& attribute : *this) bytes += attribute.name.size() + attribute.value.size();
  return bytes;
}

StatusOr<Encoder> Encoder::make(const EncodingSettings& settings) {
  if (settings.format == PayloadFormat::kConfluent && settings.schema_id == 0) {
    return invalid_argument(
        "the confluent format needs schema_id, the id that the schema registry gave, or schema_registry.url");
  }
  if (settings.cluster.empty()) return invalid_argument("cluster may not be empty");
  return Encoder(settings);
}

Encoder::Encoder(EncodingSettings settings) : settings_(std::move(settings)), source_start_("/headgate/") {
  append_uri_segment(source_start_, settings_.cluster);
  if (settings_.dataschema.empty()) {
    settings_.dataschema = fmt::format("urn:headgate:schema:headgate.v1.Event:{}", format_word(settings_.format));
  } else if (settings_.dataschema == "none") {
    settings_.dataschema.clear();
  }
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
  const bool as_is = has_changes(event.kind) && !event.payload.empty();
  switch (settings_.format) {
    case PayloadFormat::kJson: {
      HG_ASSIGN_OR_RETURN(const std::string* json, json_of(event));
      out.content_type_ = kJsonType;
      out.data_ = *json;
      return ok_status();
    }
    case PayloadFormat::kConfluent:
      out.content_type_ = kConfluentType;
      out.own_data_ = confluent_frame(settings_.schema_id, as_is ? event.payload : control_payload(event));
      out.data_ = out.own_data_;
      return ok_status();
    case PayloadFormat::kProtobuf: break;
  }
  out.content_type_ = kProtobufType;
  // Never without data: a record without a value would be a tombstone on a compacted topic.
  if (!as_is) out.own_data_ = control_payload(event);
  out.data_ = as_is ? std::string_view(event.payload) : out.own_data_;
  return ok_status();
}

Status Encoder::encode(const Delivery& delivery, Encoded& out) const {
  const Event& event = *delivery.event;
  out.count_ = 0;
  set_event_id(delivery, out.id_);
  out.source_ = source_start_;
  if (!event.tenant.empty()) {
    out.source_ += "/tenants/";
    append_uri_segment(out.source_, event.tenant);
  }
  HG_RETURN_IF_ERROR(set_data(event, out));

  out.add("specversion", "1.0");
  out.add("id", out.id_);
  out.add("source", out.source_);
  out.add("type", type_of(event.kind));
  if (const std::string_view entity = entity_of(event); !entity.empty()) out.add("subject", entity);
  if (!settings_.dataschema.empty()) out.add("dataschema", settings_.dataschema);
  if (event.started_at_us != 0 && has_rfc3339(event.started_at_us)) {
    set_time(event.started_at_us, out.time_);
    out.add("time", out.time_);
  }
  if (!event.snap_token.empty()) out.add("snaptoken", event.snap_token);
  if (!delivery.previous_token.empty()) out.add("previoustoken", delivery.previous_token);
  add_extensions(delivery, out);
  return ok_status();
}

void Encoder::add_extensions(const Delivery& delivery, Encoded& out) {
  const Event& event = *delivery.event;
  // A heartbeat for all tenants has neither.
  if (delivery.sequence > 0 || event.kind != EventKind::kHeartbeat) {
    set_padded(delivery.sequence, out.sequence_);
    out.add("sequence", out.sequence_);
  }
  if (!event.tenant.empty()) out.add("partitionkey", event.tenant);
  if (event.kind == EventKind::kHeartbeat) {
    set_padded(event.xid, out.position_);
    out.add("position", out.position_);
  }
  if (const std::string_view types = entity_types_of(event); !types.empty()) out.add("entitytypes", types);
  if (event.more_parts) out.add("moreparts", "true");
  if (!event.incarnation.empty()) out.add("incarnation", event.incarnation);
  if (!event.reason.empty()) out.add("reason", event.reason);
  if (!event.snapshot.empty()) out.add("snapshotcontinuation", event.snapshot);
  if (!event.schema_version.empty()) out.add("schemaversion", event.schema_version);
  if (!event.previous_schema_version.empty()) out.add("previousschemaversion", event.previous_schema_version);
  if (event.late) out.add("late", "true");
}

Status Encoder::encode_structured(const Delivery& delivery, std::string& out) const {
  Encoded encoded;
  HG_RETURN_IF_ERROR(encode(delivery, encoded));
  out += '{';
  for (const Attribute& attribute : encoded) {
    append_json_text(out, attribute.name);
    out += ':';
    append_json_text(out, attribute.value);
    out += ',';
  }
  out += "\"datacontenttype\":";
  append_json_text(out, encoded.content_type());
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

}  // namespace headgate::sinks
