#include "engine/feed/ring.h"

#include <doctest/doctest.h>

namespace headgate::engine {

namespace {

std::vector<FeedItemPtr> transaction(uint64_t xid, const std::string& tenant, size_t parts = 1, size_t bytes = 100) {
  std::vector<FeedItemPtr> items;
  for (size_t i = 0; i < parts; ++i) {
    auto item = std::make_shared<FeedItem>();
    item->tenant = tenant;
    item->xid = xid;
    item->part = static_cast<uint32_t>(i);
    item->more_parts = i + 1 < parts;
    item->changes.assign(bytes, 'x');
    items.push_back(std::move(item));
  }
  return items;
}

std::vector<uint64_t> xids(const std::vector<FeedItemPtr>& items) {
  std::vector<uint64_t> all;
  for (const auto& item : items) all.push_back(item->xid);
  return all;
}

const auto kEverything = [](const FeedItem&) { return true; };

}  // namespace

TEST_SUITE("feed/ring") {
  TEST_CASE("ring: a tenant's reader sees its own transactions and moves to the end") {
    Ring ring({});
    ring.reset(5, {});
    for (uint64_t xid = 10; xid < 20; ++xid) ring.append(transaction(xid, xid % 2 ? "odd" : "even"), {});
    ring.advance(25);
    FeedPlace place{5, 0};
    CHECK(xids(ring.read("odd", &place, {})) == std::vector<uint64_t>{11, 13, 15, 17, 19});
    CHECK(place == FeedPlace{25, 0});
    place = {13, 0};
    CHECK(xids(ring.read("odd", &place, {.items_max = 2})) == std::vector<uint64_t>{13, 15});
    CHECK(place == FeedPlace{16, 0});
    CHECK(ring.read("none", &place, {}).empty());
    place = {12, 0};
    CHECK(xids(ring.read(kEverything, &place, {.items_max = 3})) == std::vector<uint64_t>{12, 13, 14});
    CHECK(place == FeedPlace{15, 0});
    CHECK(ring.durable_end() == 20);
  }

  TEST_CASE("ring: bounded by bytes, whole transactions leave") {
    Ring ring({.bytes_max = 5'000});
    ring.reset(1, {});
    for (uint64_t xid = 1; xid <= 100; ++xid) ring.append(transaction(xid, "t", 2), {});
    CHECK(ring.bytes() <= 5'000);
    CHECK(ring.start() > 80);
    CHECK(ring.size() % 2 == 0);
    CHECK(ring.transactions() == ring.size() / 2);
    FeedPlace place{ring.start(), 1};
    const auto items = ring.read("t", &place, {.items_max = 1});
    REQUIRE(items.size() == 1);
    CHECK(items[0]->part == 1);
  }

  TEST_CASE("ring: a transaction larger than the ring moves the start behind it") {
    Ring ring({.bytes_max = 5'000});
    ring.reset(1, {});
    ring.append(transaction(3, "t"), {});
    ring.append(transaction(4, "t", 100), {});
    CHECK(ring.start() == 5);
    CHECK(ring.end() == 5);
    CHECK(ring.bytes() == 0);
  }

  TEST_CASE("ring: bounded by age") {
    Ring ring({.age_max = Duration(1'000)});
    ring.reset(1, {});
    const MonotonicTime now{};
    ring.append(transaction(3, "t"), now);
    ring.append(transaction(4, "t"), now + Duration(900));
    ring.drop_older(now + Duration(1'500));
    CHECK(ring.start() == 4);
    CHECK(ring.size() == 1);
  }

  TEST_CASE("item: a large transaction travels in parts that repeat it when resumed inside") {
    HistoryTransaction large{77, "t", 5, {}};
    for (int i = 0; i < 100; ++i) {
      base::v1::DataChange change;
      change.set_operation(base::v1::DataChange::OPERATION_CREATE);
      change.mutable_tuple()->mutable_entity()->set_id("e" + std::to_string(i));
      large.changes.push_back(change);
    }
    std::vector<FeedItemPtr> parts, again;
    encode_transaction(large, 200, &parts);
    encode_transaction(large, 200, &again);
    REQUIRE(parts.size() > 3);
    int changes = 0;
    for (size_t i = 0; i < parts.size(); ++i) {
      CHECK(parts[i]->changes == again[i]->changes);
      CHECK(parts[i]->more_parts == (i + 1 < parts.size()));
      base::v1::DataChanges message;
      REQUIRE(message.ParseFromString(parts[i]->changes));
      CHECK(message.snap_token() == parts[i]->snap_token);
      CHECK(message.SerializeAsString() == parts[i]->changes);
      changes += message.data_changes_size();
    }
    CHECK(changes == 100);
    CHECK(decode_snap_token(parts[0]->snap_token)->is_position());
    CHECK(decode_snap_token(parts[0]->snap_token)->xid == 76);
    CHECK(parts.back()->snap_token == encode_legacy_token(77));
    parts.clear();
    encode_transaction({78, "t", 5, {}}, 200, &parts);
    REQUIRE(parts.size() == 1);
    base::v1::DataChanges empty;
    REQUIRE(empty.ParseFromString(parts[0]->changes));
    CHECK(empty.data_changes_size() == 0);
  }
}

}  // namespace headgate::engine
