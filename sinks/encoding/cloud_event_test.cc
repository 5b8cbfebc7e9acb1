#include <array>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "base/v1/base.pb.h"
#include "headgate/v1/event.pb.h"
#include "sinks/encoding/cloud_event.h"
#include "sinks/heartbeat.h"
#include "tests/support/test_main.h"

namespace headgate::sinks {
namespace {

namespace pb = ::base::v1;

std::string payload_of(const std::string& token, const std::vector<std::pair<std::string, std::string>>& entities) {
  pb::DataChanges changes;
  changes.set_snap_token(token);
  for (const auto& [type, id] : entities) {
    pb::DataChange& change = *changes.add_data_changes();
    change.set_operation(pb::DataChange::OPERATION_CREATE);
    change.mutable_tuple()->mutable_entity()->set_type(type);
    change.mutable_tuple()->mutable_entity()->set_id(id);
    change.mutable_tuple()->set_relation("viewer");
    change.mutable_tuple()->mutable_subject()->set_type("user");
    change.mutable_tuple()->mutable_subject()->set_id("u1");
  }
  return changes.SerializeAsString();
}

Delivery sample(const std::string& tenant = "t1") {
  auto event = std::make_shared<Event>();
  event->tenant = tenant;
  event->xid = 7301;
  event->part = 2;
  event->more_parts = true;
  event->snap_token = "hRwAAAAAAAA=";
  event->incarnation = "7301-1";
  event->started_at_us = 1'763'737'445'000'001;
  event->payload = payload_of(event->snap_token, {{"document", "d1"}});
  return {event, 42, "hBwAAAAAAAA="};
}

Delivery control(EventKind kind) {
  Delivery delivery = sample();
  auto event = std::make_shared<Event>(*delivery.event);
  event->kind = kind;
  event->part = 0;
  event->more_parts = false;
  event->payload.clear();
  if (kind == EventKind::kGap) event->reason = "HISTORY_GONE";
  if (kind == EventKind::kSnapshotBegin) event->snapshot = "c25hcDow";
  if (kind == EventKind::kTenantRemoved) event->late = true;
  if (kind == EventKind::kSchemaChanged) {
    event->schema_version = "d7b2k";
    event->previous_schema_version = "d7a1c";
  }
  delivery.event = event;
  return delivery;
}

Delivery page() {
  Delivery delivery = sample();
  auto event = std::make_shared<Event>(*delivery.event);
  event->kind = EventKind::kSnapshotPage;
  event->part = 0;
  event->more_parts = false;
  event->snapshot = "c25hcDox";
  event->payload = payload_of(event->snap_token, {{"folder", "f1"}, {"document", "d1"}});
  delivery.event = event;
  return delivery;
}

Delivery of_kind(EventKind kind) {
  if (kind == EventKind::kChanges) return sample();
  return kind == EventKind::kSnapshotPage ? page() : control(kind);
}

constexpr std::array kAllKinds = {EventKind::kChanges,       EventKind::kHeartbeat,     EventKind::kGap,
                                  EventKind::kSnapshotBegin, EventKind::kSnapshotPage,  EventKind::kSnapshotEnd,
                                  EventKind::kTenantCreated, EventKind::kTenantRemoved, EventKind::kSchemaChanged};
constexpr std::array kAllFormats = {PayloadFormat::kProtobuf, PayloadFormat::kJson, PayloadFormat::kConfluent};

std::string word_of(PayloadFormat format) {
  if (format == PayloadFormat::kProtobuf) return "protobuf";
  return format == PayloadFormat::kJson ? "json" : "confluent";
}

// Of one delivery, whatever the format.
headgate::v1::Event message_of_data(const Encoded& encoded) {
  headgate::v1::Event message;
  std::string_view data = encoded.data();
  if (encoded.content_type() == "application/x-confluent-protobuf") data.remove_prefix(6);
  REQUIRE(message.ParseFromArray(data.data(), static_cast<int>(data.size())));
  return message;
}

Encoder encoder_of(PayloadFormat format) {
  EncodingSettings settings;
  settings.cluster = "prod";
  settings.format = format;
  settings.schema_id = format == PayloadFormat::kConfluent ? 258 : 0;
  auto encoder = Encoder::make(settings);
  REQUIRE(encoder.ok());
  return *encoder;
}

std::string structured(PayloadFormat format, const Delivery& delivery) {
  std::string line;
  REQUIRE(encoder_of(format).encode_structured(delivery, line).ok());
  return line;
}

// HEADGATE_WRITE_GOLDEN=1 writes the file anew; the difference is then for a human to judge.
void check_golden(const std::string& name, const std::string& line) {
  const std::string path = std::string(HEADGATE_CASES) + "/events/" + name + ".json";
  if (std::getenv("HEADGATE_WRITE_GOLDEN") != nullptr) std::ofstream(path) << line << '\n';
  std::ifstream in(path);
  REQUIRE_MESSAGE(in.good(), path);
  std::stringstream text;
  text << in.rdbuf();
  CHECK(text.str() == line + "\n");
}

std::string value_of(const Encoded& encoded, std::string_view name) {
  for (const Attribute& attribute : encoded) {
    if (attribute.name == name) return std::string(attribute.value);
  }
  return "(absent)";
}

}  // namespace

TEST_SUITE("encoding/cloud_event") {
  TEST_CASE("structured mode: equals the golden files byte for byte") {
    for (const EventKind kind : kAllKinds) {
      for (const PayloadFormat format : kAllFormats) {
        std::string name = fmt::format("{}_{}", kind_word(kind), word_of(format));
        std::replace(name.begin(), name.end(), '-', '_');
        check_golden(name, structured(format, of_kind(kind)));
      }
    }
  }

  TEST_CASE("attributes: binary mode names them all") {
    Encoded encoded;
    const Delivery delivery = sample();
    const Encoder encoder = encoder_of(PayloadFormat::kProtobuf);
    REQUIRE(encoder.encode(delivery, encoded).ok());
    CHECK(value_of(encoded, "id") == "t1/7301/2");
    CHECK(value_of(encoded, "source") == "/headgate/prod/tenants/t1");
    CHECK(value_of(encoded, "type") == "dev.headgate.permission.changed.v1");
    CHECK(value_of(encoded, "subject") == "document:d1");
    CHECK(value_of(encoded, "time") == "2025-11-21T15:04:05.000001Z");
    CHECK(value_of(encoded, "sequence") == "00000000000000000042");
    CHECK(value_of(encoded, "entitytypes") == "document");
    CHECK(value_of(encoded, "dataschema") == "urn:headgate:schema:headgate.v1.Event:protobuf");
    CHECK(value_of(encoded, "moreparts") == "true");
    CHECK(value_of(encoded, "previoustoken") == "hBwAAAAAAAA=");
    CHECK(encoded.content_type() == "application/protobuf");
    CHECK(encoded.data() == delivery.event->payload);
  }

  TEST_CASE("sequence: has the order of the numbers as text") {
    std::string before;
    for (const uint64_t sequence : {uint64_t{1}, uint64_t{9}, uint64_t{10}, uint64_t{99}, uint64_t{100}, UINT64_MAX}) {
      Delivery delivery = sample();
      delivery.sequence = sequence;
      Encoded encoded;
      REQUIRE(encoder_of(PayloadFormat::kJson).encode(delivery, encoded).ok());
      const std::string text = value_of(encoded, "sequence");
      CHECK(text.size() == 20);
      CHECK(before < text);
      before = text;
    }
  }

  TEST_CASE("names of extensions: lower-case letters and digits alone") {
    for (const EventKind kind : kAllKinds) {
      Encoded encoded;
      const Delivery delivery = of_kind(kind);
      const Encoder encoder = encoder_of(PayloadFormat::kJson);
      REQUIRE(encoder.encode(delivery, encoded).ok());
      for (const Attribute& attribute : encoded) {
        CHECK(attribute.name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789") == std::string_view::npos);
        CHECK_FALSE(attribute.value.empty());
      }
    }
  }

  TEST_CASE("dataschema: differs by format, and may be left out") {
    EncodingSettings settings;
    settings.dataschema = "none";
    Encoded encoded;
    const Delivery delivery = sample();
    REQUIRE(Encoder::make(settings)->encode(delivery, encoded).ok());
    CHECK(value_of(encoded, "dataschema") == "(absent)");
    std::set<std::string> seen;
    for (const PayloadFormat format : kAllFormats) {
      const Encoder encoder = encoder_of(format);
      REQUIRE(encoder.encode(delivery, encoded).ok());
      seen.insert(value_of(encoded, "dataschema"));
    }
    CHECK(seen.size() == kAllFormats.size());
  }

  TEST_CASE("subject: absent when changes are of several entities, whose types are listed in order") {
    auto event = std::make_shared<Event>(*sample().event);
    event->payload = payload_of("x", {{"document", "d1"}, {"document", "d2"}});
    CHECK(entity_of(*event).empty());
    CHECK(entity_types_of(*event) == "document");
    auto mixed = std::make_shared<Event>(*event);
    mixed->payload = payload_of("x", {{"folder", "d1"}, {"document", "d1"}, {"folder", "d2"}});
    CHECK(entity_of(*mixed).empty());
    CHECK(entity_types_of(*mixed) == "document,folder");
  }

  TEST_CASE("entitytypes: left out when a list would lie") {
    const auto types_of = [](const std::vector<std::pair<std::string, std::string>>& entities) {
      auto event = std::make_shared<Event>(*sample().event);
      event->payload = payload_of("x", entities);
      return std::string(entity_types_of(*event));
    };
    CHECK(types_of({{"a,b", "1"}}).empty());
    CHECK(types_of({{"a\nb", "1"}}).empty());
    std::vector<std::pair<std::string, std::string>> many;
    for (int i = 0; i < 300; ++i) many.emplace_back(fmt::format("type{}", i), "1");
    CHECK(types_of(many).empty());
    CHECK(entity_types_of(*control(EventKind::kGap).event).empty());
  }

  TEST_CASE("confluent frame: byte 0, schema id, message index 0, payload") {
    Encoded encoded;
    const Delivery delivery = sample();
    REQUIRE(encoder_of(PayloadFormat::kConfluent).encode(delivery, encoded).ok());
    CHECK(encoded.data().substr(0, 6) == std::string_view("\0\0\0\1\2\0", 6));
    CHECK(encoded.data().substr(6) == delivery.event->payload);
    CHECK(encoded.content_type() == "application/x-confluent-protobuf");
    EncodingSettings without_id;
    without_id.format = PayloadFormat::kConfluent;
    CHECK(Encoder::make(without_id).status().code() == StatusCode::kInvalidArgument);
  }

  TEST_CASE("control events: never without data, and an id of their own") {
    for (const EventKind kind : kAllKinds) {
      for (const PayloadFormat format : kAllFormats) {
        Encoded encoded;
        const Delivery delivery = of_kind(kind);
        REQUIRE(encoder_of(format).encode(delivery, encoded).ok());
        CHECK(!encoded.data().empty());
        if (kind == EventKind::kChanges) continue;
        const auto number = kind == EventKind::kHeartbeat ? "1763737445000001" : "42";
        CHECK(encoded.id() == fmt::format("t1/7301/0/{}-{}", kind_word(kind), number));
      }
    }
  }

  TEST_CASE("control events: read with the schema of the changes") {
    for (const PayloadFormat format : {PayloadFormat::kProtobuf, PayloadFormat::kConfluent}) {
      Encoded encoded;
      const Delivery changed = control(EventKind::kSchemaChanged);
      REQUIRE(encoder_of(format).encode(changed, encoded).ok());
      const headgate::v1::Event message = message_of_data(encoded);
      CHECK(message.snap_token() == changed.event->snap_token);
      CHECK(message.control().kind() == headgate::v1::Event::KIND_SCHEMA_CHANGED);
      CHECK(message.control().schema_version() == "d7b2k");
      CHECK(message.control().previous_schema_version() == "d7a1c");
      const Delivery changes = sample();
      REQUIRE(encoder_of(format).encode(changes, encoded).ok());
      CHECK_FALSE(message_of_data(encoded).has_control());
      CHECK(message_of_data(encoded).data_changes(0).tuple().entity().id() == "d1");
    }
  }

  TEST_CASE("heartbeat: for all tenants it has no tenant, no number and a time of its own") {
    const Heartbeat heartbeat{7400, "token", "7301-1", 1'763'737'445'000'001, {}};
    Encoded encoded;
    const Delivery all = heartbeat_deliveries(heartbeat).at(0);
    REQUIRE(encoder_of(PayloadFormat::kJson).encode(all, encoded).ok());
    CHECK(value_of(encoded, "sequence") == "(absent)");
    CHECK(value_of(encoded, "partitionkey") == "(absent)");
    CHECK(value_of(encoded, "source") == "/headgate/prod");
    CHECK(value_of(encoded, "position") == "00000000000000007400");
    const std::vector<TenantMark> marks = {{"t1", 42, "before"}};
    Heartbeat of_tenant = heartbeat;
    of_tenant.tenants = marks;
    const Delivery one = heartbeat_deliveries(of_tenant).at(0);
    REQUIRE(encoder_of(PayloadFormat::kJson).encode(one, encoded).ok());
    CHECK(value_of(encoded, "sequence") == "00000000000000000042");
    CHECK(value_of(encoded, "previoustoken") == "before");
    CHECK(value_of(encoded, "partitionkey") == "t1");
  }

  TEST_CASE("json: made once and shared, also by many threads") {
    const Delivery delivery = sample();
    std::vector<const std::string*> texts(8);
    {
      std::vector<std::jthread> threads;
      for (const std::string*& text : texts) {
        threads.emplace_back([&text, &delivery] { text = *json_of(*delivery.event); });
      }
    }
    for (const std::string* text : texts) CHECK(text == texts[0]);
  }

  TEST_CASE("payload: garbage is refused with the event's id in JSON mode") {
    auto event = std::make_shared<Event>(*sample().event);
    event->payload = "\xff\xff\xff";
    std::string line;
    const Status status = encoder_of(PayloadFormat::kJson).encode_structured({event, 1, ""}, line);
    CHECK(status.code() == StatusCode::kInvalidArgument);
    CHECK(message_of(status).find("t1/7301/2") != std::string::npos);
  }

  TEST_CASE("read_back: gives tenant and cursor of what was written") {
    for (const std::string tenant : {"t1", "a/b", "*", "we ird\n%"}) {
      const Delivery delivery = sample(tenant);
      const auto found = read_back_structured(structured(PayloadFormat::kProtobuf, delivery));
      REQUIRE(found.ok());
      CHECK(found->tenant == tenant);
      CHECK(found->cursor == cursor_of(delivery));
    }
    CHECK(!read_back_structured("{\"id\":\"x\"}").ok());
    CHECK(!read_back_structured("{\"id\":").ok());
  }

  TEST_CASE("read_back: every kind comes back as the cursor of its delivery, but a heartbeat is no place") {
    for (const EventKind kind : kAllKinds) {
      for (const PayloadFormat format : kAllFormats) {
        const Delivery delivery = of_kind(kind);
        const auto found = read_back_structured(structured(format, delivery));
        if (kind == EventKind::kHeartbeat) {
          CHECK(found.status().code() == StatusCode::kNotFound);
          continue;
        }
        REQUIRE_MESSAGE(found.ok(), describe(found.status()));
        CHECK(found->kind == kind);
        CHECK(found->cursor == cursor_of(delivery));
        CHECK(found->cursor.identity.empty() != is_of_history(kind));
      }
    }
  }

  TEST_CASE("read_back: takes the numbers that older versions wrote") {
    std::string line = structured(PayloadFormat::kJson, sample());
    const std::string padded = "\"00000000000000000042\"";
    line.replace(line.find(padded), padded.size(), "\"42\"");
    REQUIRE(read_back_structured(line).ok());
    CHECK(read_back_structured(line)->cursor.sequence == 42);
  }

  TEST_CASE("already_held: a higher sequence is new even at the same place") {
    Delivery delivery = sample();
    Cursor held = cursor_of(delivery);
    CHECK(already_held(held, delivery));
    delivery.sequence = 43;
    CHECK(!already_held(held, delivery));
    delivery.sequence = 42;
    held.incarnation = "other";
    CHECK(!already_held(held, delivery));
  }

  TEST_CASE("already_held: of control events and pages the sequence alone counts") {
    Cursor held = cursor_of(sample());
    held.incarnation = "other";
    for (const EventKind kind : {EventKind::kGap, EventKind::kSnapshotBegin, EventKind::kSnapshotPage}) {
      Delivery delivery = of_kind(kind);
      CHECK(already_held(held, delivery));
      delivery.sequence = 43;
      CHECK_FALSE(already_held(held, delivery));
    }
  }

  TEST_CASE("already_held: another transaction with the same xid is not the one that is held") {
    Delivery delivery = sample();
    const Cursor held = cursor_of(delivery);
    auto event = std::make_shared<Event>(*delivery.event);
    event->started_at_us += 1;
    delivery.event = event;
    CHECK_FALSE(already_held(held, delivery));
  }

  TEST_CASE("rfc3339: comes back, and nothing else is taken for a time") {
    for (const int64_t time :
         {int64_t{0}, int64_t{-1}, int64_t{1'763'737'445'000'001}, int64_t{253'402'300'799'999'999}}) {
      CHECK(parse_rfc3339(rfc3339(time)) == time);
    }
    for (const char* text :
         {"", "1970-01-01T00:00:00Z", "1970-01-01T00:00:00.00000xZ", "1970-01-01 00:00:00.000000Z"}) {
      CHECK_FALSE(parse_rfc3339(text).has_value());
    }
  }

  TEST_CASE("rfc3339: also before the epoch") {
    CHECK(rfc3339(0) == "1970-01-01T00:00:00.000000Z");
    CHECK(rfc3339(-1) == "1969-12-31T23:59:59.999999Z");
  }

  TEST_CASE("rfc3339: an event goes without a time that it cannot write") {
    constexpr int64_t kFirst = -62'167'219'200'000'000, kLast = 253'402'300'799'999'999;
    CHECK(rfc3339(kFirst) == "0000-01-01T00:00:00.000000Z");
    CHECK(rfc3339(kLast) == "9999-12-31T23:59:59.999999Z");
    constexpr int64_t kNever = std::numeric_limits<int64_t>::min(), kFar = std::numeric_limits<int64_t>::max();
    for (const int64_t time : {kFirst, kLast}) CHECK(has_rfc3339(time));
    for (const int64_t time : {kFirst - 1, kLast + 1, kNever, kFar}) {
      CHECK_FALSE(has_rfc3339(time));
      Event event;
      event.started_at_us = time;
      Delivery delivery;
      delivery.event = std::make_shared<const Event>(std::move(event));
      std::string line;
      CHECK(Encoder::make({})->encode_structured(delivery, line).ok());
      CHECK(line.find("\"time\"") == std::string::npos);
    }
  }
}

}  // namespace headgate::sinks
