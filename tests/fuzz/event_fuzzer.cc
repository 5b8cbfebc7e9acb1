// Events on their way into sinks and back. An input that begins with '{' is one line of a sink, as a subscriber or the
// sink itself reads it. Any other holds the fields of an event, a line each (see take_delivery), and the payload: JSON
// of DataChanges when it begins with '{', else its bytes.
#include <google/protobuf/util/json_util.h>

#include "sinks/encoding/cloud_event.h"
#include "tests/fuzz/input.h"
#include "tests/fuzz/properties.h"
#include "tests/support/subscribers.h"

namespace headgate::fuzz {
namespace {

using sinks::Delivery;
using sinks::Event;
using sinks::EventKind;
using testing::Received;

void try_line(std::string_view line) {
  std::string error;
  const auto received = testing::decode_structured(line, &error);
  const auto found = sinks::read_back_structured(line);
  demand(received || !error.empty(), "a subscriber refuses without a word");
  if (!found.ok()) demand_refusal(found.status(), {StatusCode::kInvalidArgument, StatusCode::kNotFound});
  if (!received || found.status().code() == StatusCode::kNotFound) return;
  demand(found.ok(), "a subscriber reads what the sink does not: {}", describe(found.status()));
  demand(found->tenant == received->tenant && found->cursor.xid == received->xid &&
             found->cursor.part == received->part && found->cursor.sequence == received->sequence &&
             found->cursor.snap_token == received->token && found->cursor.more_parts == received->more_parts &&
             found->cursor.incarnation == received->incarnation,
         "a subscriber and the sink read different places of event {}", received->id);
}

std::string take_payload(std::string_view rest) {
  if (rest.empty() || rest.front() != '{') return std::string(rest);
  base::v1::DataChanges changes;
  const auto status = google::protobuf::util::JsonStringToMessage(std::string(rest), &changes);
  return status.ok() ? changes.SerializeAsString() : std::string(rest);
}

Delivery take_delivery(std::string_view input) {
  Input lines(input);
  Event event;
  event.kind = static_cast<EventKind>(lines.number() % 9);
  event.tenant = lines.line();
  event.xid = lines.number();
  event.part = static_cast<uint32_t>(lines.number());
  event.more_parts = lines.line() == "more";
  event.snap_token = lines.line();
  event.incarnation = lines.line();
  event.started_at_us = static_cast<int64_t>(lines.number());
  event.reason = lines.line();
  Delivery delivery;
  delivery.sequence = lines.number();
  delivery.previous_token = lines.line();
  if (has_changes(event.kind)) event.payload = take_payload(lines.rest());
  delivery.event = std::make_shared<const Event>(std::move(event));
  return delivery;
}

// All texts of an event come out of Protobuf strings.
bool has_readable_texts(const Delivery& delivery) {
  const Event& event = *delivery.event;
  for (const std::string* text :
       {&event.tenant, &event.snap_token, &event.incarnation, &event.reason, &delivery.previous_token}) {
    if (!is_utf8(*text)) return false;
  }
  return true;
}

// Only a heartbeat may be for all tenants; it has no number then, and every other one has its tenant's.
bool names_its_tenant(const Delivery& delivery) {
  const Event& event = *delivery.event;
  if (event.kind == EventKind::kHeartbeat) return event.tenant.empty() == (delivery.sequence == 0);
  return !event.tenant.empty();
}

void demand_same(const Received& received, const Delivery& delivery) {
  const Event& event = *delivery.event;
  demand(received.type == sinks::type_of(event.kind) && received.id == sinks::event_id(delivery), "another event: {}",
         received.id);
  demand(received.tenant == event.tenant && received.xid == event.xid && received.part == event.part &&
             received.more_parts == event.more_parts,
         "another place: {}", received.id);
  demand(received.sequence == delivery.sequence, "another number: {}", received.id);
  demand(received.token == event.snap_token && received.previous_token == delivery.previous_token &&
             received.incarnation == event.incarnation && received.reason == event.reason,
         "another text in event {}", received.id);
  const int64_t time = sinks::has_rfc3339(event.started_at_us) ? event.started_at_us : 0;
  demand(received.started_at_us == time, "another time: {} for {}", received.started_at_us, event.started_at_us);
}

void try_format(const Delivery& delivery, sinks::PayloadFormat format) {
  const Event& event = *delivery.event;
  const auto encoder = sinks::Encoder::make({.cluster = "c", .format = format, .schema_id = 7});
  demand(encoder.ok(), "{}", describe(encoder.status()));
  base::v1::DataChanges changes;
  const bool is_message = changes.ParseFromString(event.payload);
  std::string line;
  const Status status = encoder->encode_structured(delivery, line);
  if (!status.ok()) return demand_refusal(status, {StatusCode::kInvalidArgument});
  demand(line.find('\n') == std::string::npos && is_utf8(line), "a line that is none: {}", line);
  try_line(line);
  const auto found = sinks::read_back_structured(line);
  const bool place = event.kind != EventKind::kHeartbeat;
  demand(!place || (found.ok() && sinks::already_held(found->cursor, delivery)),
         "a sink does not find its own event: {}", line);
  // The bytes of a payload travel as they are, and a subscriber cannot read what is no message. A message without any
  // field does not occur, because each carries its token.
  if (!is_message || (has_changes(event.kind) && event.payload.empty())) return;
  std::string error;
  auto received = testing::decode_structured(line, &error);
  demand(received.has_value(), "a subscriber cannot read: {}\n{}", error, line);
  demand_same(*received, delivery);
  // JSON has no place for fields that only a newer source knows.
  changes.DiscardUnknownFields();
  received->changes.DiscardUnknownFields();
  if (has_changes(event.kind)) demand_equal(received->changes, changes, "what went in and what came out");
}

}  // namespace

void event_target(std::string_view input) {
  if (!input.empty() && input.front() == '{') return try_line(input);
  const Delivery delivery = take_delivery(input);
  if (!has_readable_texts(delivery) || !names_its_tenant(delivery)) return;
  for (const auto format :
       {sinks::PayloadFormat::kProtobuf, sinks::PayloadFormat::kJson, sinks::PayloadFormat::kConfluent}) {
    try_format(delivery, format);
  }
}

}  // namespace headgate::fuzz
