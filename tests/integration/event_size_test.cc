// Whatever an engine with default settings accepts and sends, every sink with default settings takes: the largest parts
// of transactions, and the largest single values, in every format.
#include <limits>

#include "engine/config/config.h"
#include "engine/feed/feed.h"
#include "engine/feed/item.h"
#include "engine/storage/json_size.h"
#include "engine/write/validation.h"
#include "sinks/encoding/cloud_event.h"
#include "sinks/kafka/settings.h"
#include "sinks/nats/settings.h"
#include "sinks/redis/settings.h"
#include "tests/support/test_main.h"

namespace headgate {

namespace {

using namespace base::v1;
using engine::HistoryTransaction;

// nats-server's max_payload, which limits a message with its headers; Kafka's default is smaller, Redis' are larger.
constexpr size_t kNatsTakes = 1 << 20;

std::string repeated(const std::string& one, size_t count) {
  std::string all;
  for (size_t i = 0; i < count; ++i) all += one;
  return all;
}

DataChange tuple_of(const std::string& id) {
  DataChange change;
  change.set_operation(DataChange::OPERATION_CREATE);
  Tuple& tuple = *change.mutable_tuple();
  tuple.mutable_entity()->set_type("d");
  tuple.mutable_entity()->set_id(id);
  tuple.set_relation("r");
  tuple.mutable_subject()->set_type("u");
  tuple.mutable_subject()->set_id(id);
  return change;
}

// The longest names that the field rules let pass.
template <typename Value>
DataChange attribute_of(const Value& value) {
  DataChange change;
  change.set_operation(DataChange::OPERATION_CREATE);
  Attribute& attribute = *change.mutable_attribute();
  attribute.mutable_entity()->set_type(std::string(64, 't'));
  attribute.mutable_entity()->set_id(std::string(128, 'i'));
  attribute.set_attribute(std::string(64, 'a'));
  attribute.mutable_value()->PackFrom(value);
  return change;
}

template <typename Value, typename Data>
DataChange list_of(size_t count, const Data& data) {
  Value value;
  for (size_t i = 0; i < count; ++i) value.add_data(data);
  return attribute_of(value);
}

DataChange text_of(const std::string& one, size_t count) {
  StringValue value;
  value.set_data(repeated(one, count));
  return attribute_of(value);
}

// Makes a change of about `size` units; what is large as JSON, as protobuf, or in the number of changes.
using Make = std::function<DataChange(size_t size)>;
std::vector<Make> makers() {
  std::vector<Make> all;
  for (const char* text :
       {"x", "\x01", "\x7f", "<", "\"", "\xc2\x80", "\xc3\xa4", "\xe2\x80\xa8", "\xef\xbb\xbf", "\xf0\x9d\x85\xb3"}) {
    all.push_back([text](size_t size) { return text_of(text, size); });
    all.push_back([text](size_t size) { return list_of<StringArrayValue>(size, std::string(text)); });
  }
  all.push_back([](size_t size) { return list_of<StringArrayValue>(size, std::string()); });
  all.push_back([](size_t size) { return list_of<BooleanArrayValue>(size, false); });
  all.push_back([](size_t size) { return list_of<IntegerArrayValue>(size, -2'000'000'000); });
  all.push_back([](size_t size) { return list_of<DoubleArrayValue>(size, -1.2345678901234567e-300); });
  all.push_back([](size_t size) { return tuple_of(std::to_string(size)); });
  all.push_back([](size_t size) { return tuple_of(repeated("\x01", size % 128 + 1)); });
  return all;
}

sinks::Delivery delivery_of(const engine::FeedItem& item) {
  auto event = std::make_shared<sinks::Event>();
  event->tenant = item.tenant;
  event->xid = item.xid;
  event->part = item.part;
  event->more_parts = item.more_parts;
  event->snap_token = item.snap_token;
  event->incarnation = "18446744073709551615/4294967295";
  event->started_at_us = item.started_at_us;
  event->payload = item.changes;
  return {event, std::numeric_limits<uint64_t>::max(), std::string(64, 'p')};
}

// The largest that any format makes of it, and the largest line of JSON.
struct Sizes {
  size_t message = 0;
  size_t line = 0;
};

Sizes sizes_of(const engine::FeedItem& item) {
  Sizes sizes;
  const sinks::Delivery delivery = delivery_of(item);
  for (const sinks::PayloadFormat format :
       {sinks::PayloadFormat::kProtobuf, sinks::PayloadFormat::kJson, sinks::PayloadFormat::kConfluent}) {
    const auto encoder = sinks::Encoder::make({.cluster = std::string(64, 'c'), .format = format, .schema_id = 1});
    REQUIRE(encoder.ok());
    sinks::Encoded encoded;
    REQUIRE(encoder->encode(delivery, encoded).ok());
    sizes.message = std::max(sizes.message, encoded.bytes());
    std::string line;
    REQUIRE(encoder->encode_structured(delivery, line).ok());
    sizes.line = std::max(sizes.line, line.size());
  }
  return sizes;
}

std::vector<engine::FeedItemPtr> parts_of(std::vector<DataChange> changes) {
  std::vector<engine::FeedItemPtr> parts;
  const HistoryTransaction transaction{.xid = std::numeric_limits<uint64_t>::max() / 2,
                                       .tenant = std::string(128, '+'),
                                       .started_at_us = 1'800'000'000'000'000,
                                       .changes = std::move(changes)};
  encode_transaction(transaction, engine::FeedConfig{}.part_bytes_max, &parts);
  return parts;
}

void check_fits(const std::vector<engine::FeedItemPtr>& parts) {
  for (const engine::FeedItemPtr& part : parts) {
    const Sizes sizes = sizes_of(*part);
    CHECK(sizes.message <= sinks::KafkaSettings{}.message_bytes_max);
    CHECK(sizes.message <= kNatsTakes);
    CHECK(sizes.message <= sinks::RedisStreamsSettings{}.event_bytes_max);
    CHECK(sizes.line <= sinks::RedisPubsubSettings{}.event_bytes_max);
  }
}

}  // namespace

TEST_SUITE("integration/event_size") {
  TEST_CASE("event size: the largest parts of transactions, whatever they are full of") {
    for (const Make& make : makers()) {
      for (const size_t size : {1, 50, 3'000}) {
        std::vector<DataChange> changes;
        size_t bytes = 0;
        // Enough for a full part, and the beginning of another.
        while (bytes < (engine::FeedConfig{}.part_bytes_max * 3) / 2) {
          changes.push_back(make(size + changes.size() % 3));
          bytes += changes.back().ByteSizeLong();
        }
        const auto parts = parts_of(std::move(changes));
        CHECK(parts.size() > 1);
        check_fits(parts);
      }
    }
  }

  TEST_CASE("event size: the largest value that is accepted, alone and with company") {
    const size_t limit = engine::LimitsConfig{}.attribute_json_bytes_max;
    for (const Make& make : makers()) {
      size_t good = 1, bad = limit;
      while (bad - good > 64) {
        const size_t middle = (good + bad) / 2;
        (engine::check_size(make(middle).attribute(), limit).ok() ? good : bad) = middle;
      }
      if (make(good).has_tuple()) continue;
      check_fits(parts_of({tuple_of("1"), make(good), tuple_of("2")}));
    }
  }
}

}  // namespace headgate
