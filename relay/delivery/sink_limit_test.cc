#include "relay/delivery/relay_fixture.h"

namespace headgate::relay {

TEST_SUITE_BEGIN("relay/delivery");

TEST_CASE("limits: the largest event of a sink is told once it is open, and kept while it is away") {
  testing::World world;
  world.worker.source_event_bytes = 4 << 20;
  world.sink().max_event_bytes = 1000;
  world.source.write("t", 100);
  world.start();
  REQUIRE(world.has(1));
  CHECK(world.status().max_event_bytes == 1000);
  world.sink().fail_with(unavailable("away"));
  world.source.write("t", 101);
  REQUIRE(world.reaches(SinkState::kRetrying));
  CHECK(world.status().max_event_bytes == 1000);
}

TEST_CASE("limits: a sink is warned of when it takes less than the source tells, once for each limit") {
  testing::World world;
  world.source.changes_bytes_max = 950'000;
  world.sink().max_event_bytes = 1'000'000;
  world.source.write("t", 100);
  world.start();
  REQUIRE(world.has(1));
  REQUIRE(headgate::testing::wait_until([&] { return world.committed("t") == 100; }));
  CHECK(world.relay->hub().event_bytes_max() == 950'000 + (16 << 10));
  CHECK(world.status().limit_warnings == 0);
  world.source.changes_bytes_max = 2'000'000;
  world.source.cut();
  world.source.write("t", 101);
  CHECK(headgate::testing::wait_until([&] { return world.status().limit_warnings == 1; }));
  world.source.cut();
  world.source.write("t", 102);
  REQUIRE(world.has(3));
  REQUIRE(headgate::testing::wait_until([&] { return world.committed("t") == 102; }));
  CHECK(world.status().limit_warnings == 1);
}

TEST_CASE("limits: of a source that does not tell, 4 MiB are expected; what the settings say goes before all") {
  testing::World world;
  world.sink().max_event_bytes = 1'000'000;
  SUBCASE("nothing is set") {}
  SUBCASE("by the settings") { world.worker.source_event_bytes = 900'000; }
  world.source.write("t", 100);
  world.start();
  REQUIRE(world.has(1));
  REQUIRE(headgate::testing::wait_until([&] { return world.committed("t") == 100; }));
  CHECK(world.relay->hub().event_bytes_max() == 4 << 20);
  CHECK(world.status().limit_warnings == (world.worker.source_event_bytes == 0 ? 1 : 0));
}

TEST_SUITE_END();

}  // namespace headgate::relay
