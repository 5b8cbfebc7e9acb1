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

TEST_SUITE_END();

}  // namespace headgate::relay
