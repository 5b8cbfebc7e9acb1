// What the source has and cannot tell: its place in the stream, and behind a snapshot.
#include <algorithm>

#include "relay/delivery/relay_fixture.h"

namespace headgate::relay {

namespace {

using headgate::testing::wait_until;
using testing::Texts;
using testing::World;

}  // namespace

TEST_SUITE_BEGIN("relay/delivery");

TEST_CASE(
    "unreadable: what the source cannot read is a GAP at its place, once, and the rest of its transaction follows") {
  World world({"s", "t"});
  world.source.write("a", 100);
  world.start();
  for (const char* sink : {"s", "t"}) REQUIRE(wait_until([&] { return world.committed("a", sink) == 100; }));
  world.source.damage("a", 101, true);
  world.source.write("a", 101, 1);
  world.source.damage("a", 102);
  world.source.write("b", 103);
  const Texts wanted{"100.0#1", "gap 101.0#2", "101.1#3", "gap 102.0#4"};
  CHECK(arrives(world, "a", wanted));
  CHECK(world.sink().all().at(1).event->reason == "ROW_UNREADABLE");
  CHECK(world.sink().all().at(3).event->snap_token == encode_legacy_token(102));
  CHECK(world.relay->source().gaps == 2);
  CHECK(arrives(world, "a", wanted, "t"));
  CHECK(arrives(world, "b", {"103.0#1"}));
  SUBCASE("over a restart") { world.restart(); }
  SUBCASE("over a stream that broke") { world.source.cut(); }
  SUBCASE("over a kill, and the sinks tell what they have") {
    world.kill();
    for (const char* sink : {"s", "t"}) world.sink(sink).recovered["a"] = cursor_of(world.sink(sink).all().at(3));
    world.start();
  }
  world.source.write("a", 104);
  REQUIRE(wait_until([&] { return world.sink().of("a").back().starts_with("104.0"); }));
  CHECK(std::ranges::count(world.sink().of("a"), "gap 102.0#4") == 1);
  CHECK(world.sink().of("a").size() == wanted.size() + 1);
}

TEST_CASE("unreadable: a snapshot without the rows that the source cannot read ends with a GAP behind it") {
  World world;
  world.settings.session.default_start = StartPolicy::kSnapshot;
  world.source.damage("a", 99);
  world.source.write("a", 100);
  world.source.write("a", 101);
  const Texts wanted{"begin 101.0#1", "page 101.1#2", "page 101.2#3", "end 101.3#4", "gap 101.4#5"};
  SUBCASE("at once") { world.start(); }
  SUBCASE("also when a restart lies between") {
    world.source.hold_snapshots(1);
    world.start();
    REQUIRE(world.has(2));
    world.stop();
    world.source.release_snapshots();
    world.start();
  }
  CHECK(arrives(world, "a", wanted));
  CHECK(world.sink().all().at(4).event->reason == "ROW_UNREADABLE");
  world.source.write("a", 102);
  REQUIRE(wait_until([&] { return world.sink().of("a").back() == "102.0#6"; }));
}

TEST_SUITE_END();

}  // namespace headgate::relay
