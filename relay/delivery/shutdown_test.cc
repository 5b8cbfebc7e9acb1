#include <future>

#include "relay/delivery/relay_fixture.h"

namespace headgate::relay {

namespace {

using testing::World;

// What an earlier relay left behind: cursors of tenants whose history the source does not have any more.
void leave_lost_tenants(World& world, size_t count) {
  const Fence fence = world.store.acquire("before").value();
  std::vector<CursorUpdate> updates;
  for (size_t i = 0; i < count; ++i) {
    const std::string name = fmt::format("tenant-{:06}", i);
    world.source.write(name, 201 + i);
    world.source.forget_history(name, 201 + i);
    updates.push_back({name, {encode_legacy_token(200), 200, 0, false, 1, "7001/1"}});
  }
  updates.push_back({kProgressTenant, {encode_position_token(200), 200, 0, false, 0, "7001/1"}});
  REQUIRE(world.store.commit("s", updates, fence).ok());
}

}  // namespace

TEST_SUITE_BEGIN("relay/delivery");

TEST_CASE("shutdown: a relay whose sinks are all away ends, though the ring has no room for its failed tenants") {
  World world;
  world.settings.hub_bytes = 64 << 10;
  world.settings.session.on_gap = GapPolicy::kFail;
  leave_lost_tenants(world, 1000);
  world.sink().fail_with(unavailable("down"));
  world.start();
  REQUIRE(headgate::testing::wait_until([&] { return world.relay->hub().blocked(); }));
  std::future<void> stopped = std::async(std::launch::async, [&] { world.stop(Duration(200)); });
  if (stopped.wait_for(std::chrono::seconds(20)) != std::future_status::ready) {
    std::fputs("the relay did not stop\n", stderr);
    std::_Exit(1);  // nothing could end the thread that waits
  }
}

TEST_CASE("status: how old is what a sink has grows while the sink or the source is away") {
  World world;
  world.start();
  uint64_t xid = 100;
  const auto is_fresh = [&] {
    world.source.write("a", ++xid);
    return world.status().age_seconds < 0.3;
  };
  REQUIRE(headgate::testing::wait_until(is_fresh));
  world.sink().cork(true);
  world.source.write("a", ++xid);
  CHECK(headgate::testing::wait_until([&] { return world.status().age_seconds > 0.5; }));
  world.sink().cork(false);
  REQUIRE(headgate::testing::wait_until(is_fresh));
  world.source.go_away();
  CHECK(headgate::testing::wait_until([&] { return world.status().age_seconds > 0.5; }));
}

TEST_SUITE_END();

}  // namespace headgate::relay
