#include "relay/delivery/relay_fixture.h"

namespace headgate::relay {

using sinks::EventKind;
using testing::wait_until;
using testing::World;

TEST_SUITE_BEGIN("relay/delivery");

TEST_CASE("heartbeats: no heartbeat says that a tenant has everything whose snapshot is due") {
  World world;
  world.settings.session.default_start = StartPolicy::kSnapshot;
  world.worker.heartbeat = {sinks::HeartbeatScope::kSink, Duration(1)};
  world.source.write("a", 100);
  world.source.write("a", 101);
  world.source.hold_snapshots(1);
  SUBCASE("of the sink") {}
  SUBCASE("of tenants") { world.worker.heartbeat.scope = sinks::HeartbeatScope::kTenant; }
  world.start();
  REQUIRE(world.has(2));
  world.source.live("b", 102, EventKind::kTenantCreated);
  REQUIRE(world.has(3));
  REQUIRE(wait_until([&] { return world.committed(kProgressTenant) == 103; }));
  world.source.live("c", 103, EventKind::kTenantCreated);
  REQUIRE(wait_until([&] { return world.committed(kProgressTenant) == 104; }));
  for (const auto& beat : world.sink().beats()) CHECK_MESSAGE((beat.first == "b" || beat.first == "c"), beat.second);
  world.source.release_snapshots();
  const std::string wanted = world.worker.heartbeat.scope == sinks::HeartbeatScope::kSink ? "" : "a";
  CHECK(wait_until([&] {
    const auto beats = world.sink().beats();
    return std::ranges::any_of(beats, [&](const auto& beat) { return beat.first == wanted && beat.second >= 104; });
  }));
}

TEST_SUITE_END();

}  // namespace headgate::relay
