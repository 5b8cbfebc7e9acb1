#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <sstream>

#include "base/v1/base.pb.h"
#include "sinks/encoding/cloud_event.h"
#include "sinks/encoding/names.h"
#include "sinks/encoding/route.h"
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
  delivery.event = event;
  return delivery;
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
    check_golden("changes_json", structured(PayloadFormat::kJson, sample()));
    check_golden("changes_protobuf", structured(PayloadFormat::kProtobuf, sample()));
    check_golden("changes_confluent", structured(PayloadFormat::kConfluent, sample()));
    check_golden("gap", structured(PayloadFormat::kJson, control(EventKind::kGap)));
    check_golden("heartbeat", structured(PayloadFormat::kProtobuf, control(EventKind::kHeartbeat)));
    check_golden("snapshot_begin", structured(PayloadFormat::kJson, control(EventKind::kSnapshotBegin)));
    check_golden("snapshot_end", structured(PayloadFormat::kConfluent, control(EventKind::kSnapshotEnd)));
  }

  TEST_CASE("attributes: binary mode names them all") {
    Encoded encoded;
    const Delivery delivery = sample();
    REQUIRE(encoder_of(PayloadFormat::kProtobuf).encode(delivery, encoded).ok());
    CHECK(value_of(encoded, "id") == "t1/7301/2");
    CHECK(value_of(encoded, "source") == "/headgate/prod/tenants/t1");
    CHECK(value_of(encoded, "type") == "dev.headgate.permission.changed.v1");
    CHECK(value_of(encoded, "subject") == "document:d1");
    CHECK(value_of(encoded, "time") == "2025-11-21T15:04:05.000001Z");
    CHECK(value_of(encoded, "sequence") == "42");
    CHECK(value_of(encoded, "moreparts") == "true");
    CHECK(value_of(encoded, "previoustoken") == "hBwAAAAAAAA=");
    CHECK(encoded.content_type() == "application/protobuf");
    CHECK(encoded.data() == delivery.event->payload);
  }

  TEST_CASE("subject: absent when changes are of several entities") {
    auto event = std::make_shared<Event>(*sample().event);
    event->payload = payload_of("x", {{"document", "d1"}, {"document", "d2"}});
    CHECK(entity_of(*event).empty());
    CHECK(entity_type_of(*event) == "document");
    auto mixed = std::make_shared<Event>(*event);
    mixed->payload = payload_of("x", {{"document", "d1"}, {"folder", "d1"}});
    CHECK(entity_type_of(*mixed).empty());
  }

  TEST_CASE("confluent frame: byte 0, schema id, message index 0, payload") {
    Encoded encoded;
    const Delivery delivery = sample();
    REQUIRE(encoder_of(PayloadFormat::kConfluent).encode(delivery, encoded).ok());
    CHECK(encoded.data().substr(0, 6) == std::string_view("\0\0\0\1\2\0", 6));
    CHECK(encoded.data().substr(6) == delivery.event->payload);
    EncodingSettings without_id;
    without_id.format = PayloadFormat::kConfluent;
    CHECK(Encoder::make(without_id).status().code() == StatusCode::kInvalidArgument);
  }

  TEST_CASE("control events: never without data, and an id of their own") {
    for (const auto kind :
         {EventKind::kHeartbeat, EventKind::kGap, EventKind::kSnapshotBegin, EventKind::kSnapshotEnd}) {
      for (const auto format : {PayloadFormat::kProtobuf, PayloadFormat::kJson, PayloadFormat::kConfluent}) {
        Encoded encoded;
        const Delivery delivery = control(kind);
        REQUIRE(encoder_of(format).encode(delivery, encoded).ok());
        CHECK(!encoded.data().empty());
        CHECK(encoded.id() == fmt::format("t1/7301/0/{}-42", kind_word(kind)));
      }
    }
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
    const auto gap = read_back_structured(structured(PayloadFormat::kJson, control(EventKind::kGap)));
    REQUIRE(gap.ok());
    CHECK(gap->cursor.xid == 7301);
    CHECK(!read_back_structured("{\"id\":\"x\"}").ok());
    CHECK(!read_back_structured("{\"id\":").ok());
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

TEST_SUITE("encoding/names") {
  TEST_CASE("names: golden texts") {
    CHECK(encode_name(NameTarget::kKafka, "a.b_c") == "a_2Eb_5Fc");
    CHECK(encode_name(NameTarget::kNats, "a.b_c*") == "a%2Eb_c%2A");
    CHECK(encode_name(NameTarget::kRedis, "a:{b}%") == "a%3A%7Bb%7D%25");
    CHECK(encode_name(NameTarget::kKafka, "") == "_z");
    CHECK(encode_header_value("a b\"%\xc3\xa4") == "a%20b%22%25%C3%A4");
  }

  TEST_CASE("names: every pair of bytes comes back and collides with nothing") {
    for (const auto target : {NameTarget::kKafka, NameTarget::kNats, NameTarget::kRedis}) {
      std::set<std::string> seen{absent_name(target)};
      const auto take = [&](const std::string& name) {
        const std::string text = encode_name(target, name);
        REQUIRE(seen.insert(text).second);
        const auto back = decode_name(target, text);
        REQUIRE(back.ok());
        REQUIRE(*back == name);
        REQUIRE(decode_header_value(encode_header_value(name)) == name);
      };
      take("");
      for (int a = 0; a < 256; ++a) {
        take(std::string(1, static_cast<char>(a)));
        for (int b = 0; b < 256; ++b) take({static_cast<char>(a), static_cast<char>(b)});
      }
      CHECK(!decode_name(target, absent_name(target)).ok());
      CHECK(!decode_name(target, "").ok());
    }
    CHECK(!decode_name(NameTarget::kNats, "%41").ok());  // 'A' is plain: only one encoding is right
    CHECK(!decode_name(NameTarget::kNats, "%2e").ok());
  }
}

TEST_SUITE("encoding/route") {
  TEST_CASE("route: puts names in") {
    const Delivery delivery = sample("a.b");
    const Event& event = *delivery.event;
    const auto route = Route::parse(NameTarget::kNats, "{prefix}.{tenant}.{entity_type}", "hg");
    REQUIRE(route.ok());
    CHECK(*route->render(event) == "hg.a%2Eb.document");
    const auto key = Route::parse(NameTarget::kRedis, "{prefix}:{{{tenant}}}:changes", "hg");
    REQUIRE(key.ok());
    CHECK(*key->render(event) == "hg:{a.b}:changes");
  }

  TEST_CASE("route: an event about several types gets the word for none") {
    auto event = std::make_shared<Event>(*sample().event);
    event->payload = payload_of("x", {{"document", "d1"}, {"folder", "f"}});
    const auto route = Route::parse(NameTarget::kKafka, "{tenant}.{entity_type}", "");
    REQUIRE(route.ok());
    CHECK(*route->render(*event) == "t1._x");
  }

  TEST_CASE("route: refuses templates that could collide or never work") {
    const auto code = [](NameTarget target, std::string_view text) {
      return Route::parse(target, text, "p").status().code();
    };
    CHECK(code(NameTarget::kKafka, "{tenant}{entity_type}") == StatusCode::kInvalidArgument);
    CHECK(code(NameTarget::kKafka, "{tenant}-{entity_type}") == StatusCode::kInvalidArgument);
    CHECK(code(NameTarget::kKafka, "{tenant}.{entity_type}") == StatusCode::kOk);
    CHECK(code(NameTarget::kRedis, "{tenant}.{entity_type}") == StatusCode::kInvalidArgument);
    CHECK(code(NameTarget::kRedis, "{tenant}:{entity_type}") == StatusCode::kOk);
    CHECK(code(NameTarget::kKafka, "{tenannt}") == StatusCode::kInvalidArgument);
    CHECK(code(NameTarget::kKafka, "a b") == StatusCode::kInvalidArgument);
    CHECK(code(NameTarget::kKafka, "..") == StatusCode::kInvalidArgument);
    CHECK(code(NameTarget::kKafka, "") == StatusCode::kInvalidArgument);
    CHECK(code(NameTarget::kKafka, std::string(250, 'a')) == StatusCode::kInvalidArgument);
    CHECK(code(NameTarget::kNats, "a.{tenant") == StatusCode::kInvalidArgument);
    CHECK(code(NameTarget::kNats, "a.>") == StatusCode::kInvalidArgument);
    CHECK(code(NameTarget::kNats, "a..{tenant}") == StatusCode::kInvalidArgument);
    CHECK(code(NameTarget::kNats, "{tenant}.") == StatusCode::kInvalidArgument);
  }

  TEST_CASE("route: a name that is too long is refused, not cut") {
    const auto route = Route::parse(NameTarget::kKafka, "t.{tenant}", "");
    REQUIRE(route.ok());
    CHECK(route->render_tenant(std::string(128, 'a')).ok());
    CHECK(route->render_tenant(std::string(128, '.')).status().code() == StatusCode::kInvalidArgument);
  }
}

}  // namespace headgate::sinks
