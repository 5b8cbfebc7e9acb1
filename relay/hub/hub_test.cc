#include "relay/hub/hub.h"

#include "tests/support/test_main.h"

namespace headgate::relay {

namespace {

using headgate::testing::wait_until;
using Outcome = ReadResult::Outcome;

HubItem event(uint64_t xid, size_t payload = 1000) {
  auto made = std::make_shared<Event>();
  made->tenant = "t1";
  made->xid = xid;
  made->incarnation = "7/1";
  made->payload.assign(payload, 'x');
  return made;
}

std::vector<HubItem> events(uint64_t first, uint64_t last) {
  std::vector<HubItem> made;
  for (uint64_t xid = first; xid <= last; ++xid) made.push_back(event(xid));
  return made;
}

uint64_t xid_of(const HubItem& item) { return std::get<EventPtr>(item)->xid; }

ReadResult read(HubReader& reader, size_t items = 100) {
  return reader.read({.items_max = items, .bytes_max = 1 << 20}, Duration(0), {});
}

// Of somebody who never asks to stop.
std::stop_token running() {
  static const std::stop_source source;
  return source.get_token();
}

// Room for about ten of the events above.
constexpr size_t kSmall = 13'000;

}  // namespace

TEST_SUITE_BEGIN("relay/hub");

TEST_CASE("hub: every reader gets all items in order") {
  Hub hub(1 << 20);
  auto first = hub.attach();
  auto second = hub.attach();
  CHECK(hub.publish(events(1, 5), running()));
  for (HubReader* reader : {first.get(), second.get()}) {
    const ReadResult result = read(*reader);
    REQUIRE(result.items.size() == 5);
    CHECK(xid_of(result.items.front()) == 1);
    CHECK(xid_of(result.items.back()) == 5);
    CHECK(read(*reader).outcome == Outcome::kNothing);
  }
}

TEST_CASE("hub: a read is bounded by items and bytes, and one large item still comes") {
  Hub hub(1 << 20);
  auto reader = hub.attach();
  hub.publish(events(1, 6), running());
  CHECK(read(*reader, 2).items.size() == 2);
  CHECK(reader->read({.items_max = 100, .bytes_max = 3000}, Duration(0), {}).items.size() == 2);
  CHECK(reader->read({.items_max = 100, .bytes_max = 10}, Duration(0), {}).items.size() == 1);
}

TEST_CASE("hub: a slow reader loses its place, is told so and slows nobody") {
  Hub hub(kSmall);
  auto slow = hub.attach();
  auto fast = hub.attach();
  for (uint64_t xid = 1; xid <= 100; ++xid) {
    REQUIRE(hub.publish(events(xid, xid), running()));
    REQUIRE(read(*fast).items.size() == 1);
    CHECK(hub.bytes() <= kSmall);
  }
  CHECK(read(*slow).outcome == Outcome::kLagged);
  CHECK(read(*slow).outcome == Outcome::kLagged);
}

TEST_CASE("hub: the publisher waits when all readers stand still, and its memory stays bounded") {
  Hub hub(kSmall);
  auto one = hub.attach();
  auto two = hub.attach();
  std::jthread publisher([&](std::stop_token stop) { CHECK(hub.publish(events(1, 30), stop)); });
  REQUIRE(wait_until([&] { return hub.blocked(); }));
  CHECK(hub.bytes() <= kSmall);
  size_t seen = 0;
  REQUIRE(wait_until([&] { return (seen += read(*one, 1).items.size()) == 30; }));
  publisher.join();
  CHECK(read(*two).outcome == Outcome::kLagged);
}

TEST_CASE("hub: a stop request ends the publisher's wait") {
  Hub hub(kSmall);
  auto reader = hub.attach();
  std::atomic<bool> accepted{true};
  std::jthread publisher([&](std::stop_token stop) { accepted = hub.publish(events(1, 30), stop); });
  REQUIRE(wait_until([&] { return hub.blocked(); }));
  publisher.request_stop();
  publisher.join();
  CHECK_FALSE(accepted);
}

TEST_CASE("hub: a reader that leaves frees the publisher") {
  Hub hub(kSmall);
  auto reader = hub.attach();
  std::jthread publisher([&](std::stop_token stop) { CHECK(hub.publish(events(1, 30), stop)); });
  REQUIRE(wait_until([&] { return hub.blocked(); }));
  reader.reset();
  publisher.join();
  CHECK(hub.bytes() <= kSmall);
}

TEST_CASE("hub: an item larger than the ring is admitted alone") {
  Hub hub(kSmall);
  hub.publish(events(1, 3), running());
  CHECK(hub.publish({event(4, 100'000)}, running()));
  CHECK(hub.items() == 1);
}

TEST_CASE("hub: joining needs a place from which nothing is missing") {
  Hub hub(kSmall);
  hub.begin("7/1", true, 50);
  CHECK(hub.try_join("7/1", 50) == nullptr);
  CHECK(hub.try_join("7/2", 51) == nullptr);
  CHECK(hub.try_join("7/1", 51) != nullptr);
  hub.publish(events(51, 150), running());
  CHECK(hub.try_join("7/1", 100) == nullptr);
  auto reader = hub.try_join("7/1", 145);
  REQUIRE(reader != nullptr);
  const ReadResult result = read(*reader);
  CHECK(xid_of(result.items.front()) <= 145);
  CHECK(xid_of(result.items.back()) == 150);
}

TEST_CASE("hub: an unordered stream cannot be joined") {
  Hub hub(kSmall);
  hub.begin("", false, 0);
  CHECK(hub.try_join("", 100) == nullptr);
}

TEST_CASE("hub: a floor that is not known yet admits nobody, and a second begin changes nothing") {
  Hub hub(kSmall);
  hub.begin("7/1", true, Hub::kNoJoin);
  CHECK(hub.try_join("7/1", 1'000'000) == nullptr);
  hub.set_floor(9);
  hub.begin("7/1", true, 500);
  CHECK(hub.try_join("7/1", 10) != nullptr);
}

TEST_CASE("hub: after close the rest is read and then the end is told") {
  Hub hub(1 << 20);
  auto reader = hub.attach();
  hub.publish(events(1, 2), running());
  hub.close();
  CHECK(read(*reader).items.size() == 2);
  CHECK(read(*reader).outcome == Outcome::kClosed);
  CHECK_FALSE(hub.publish(events(3, 3), running()));
}

TEST_CASE("hub: linger gathers what comes shortly after the first item") {
  Hub hub(1 << 20);
  auto reader = hub.attach();
  hub.publish(events(1, 1), running());
  std::jthread publisher([&](std::stop_token stop) { hub.publish(events(2, 4), stop); });
  const ReadResult result = reader->read({.items_max = 4, .linger = Duration(10'000)}, Duration(0), {});
  CHECK(result.items.size() == 4);
}

TEST_CASE("hub: bytes behind are those not read yet") {
  Hub hub(1 << 20);
  auto reader = hub.attach();
  CHECK(reader->bytes_behind() == 0);
  hub.publish(events(1, 2), running());
  CHECK(reader->bytes_behind() == hub.bytes());
  read(*reader);
  CHECK(reader->bytes_behind() == 0);
}

TEST_SUITE_END();

}  // namespace headgate::relay
