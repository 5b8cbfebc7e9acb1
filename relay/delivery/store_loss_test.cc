#include "relay/delivery/relay_fixture.h"

namespace headgate::relay {

using headgate::testing::wait_until;

TEST_SUITE_BEGIN("relay/delivery");

TEST_CASE("token store: one that loses its data under the relay gets all cursors again, also those of quiet tenants") {
  testing::World world({"s", "t"});
  for (uint64_t i = 0; i < 20; ++i) world.source.write(fmt::format("quiet-{}", i), 100 + i);
  world.source.write("busy", 130);
  world.start();
  for (const char* sink : {"s", "t"}) {
    REQUIRE(world.has(21, sink));
    REQUIRE(wait_until([&] { return world.store.load(sink).value().size() == 22; }));
  }
  world.store.lose();
  world.source.write("busy", 131);
  for (const char* sink : {"s", "t"}) {
    CHECK(wait_until([&] { return world.committed("busy", sink) == 131; }));
    const auto cursors = world.store.load(sink).value();
    CHECK(cursors.size() == 22);
    CHECK(cursors.at("quiet-7").sequence == 1);
    CHECK(cursors.at("quiet-7").xid == 107);
  }
  world.restart();
  world.source.write("quiet-7", 140);
  for (const char* sink : {"s", "t"}) {
    REQUIRE(world.has(23, sink));
    CHECK(world.sink(sink).of("quiet-7") == std::vector<std::string>{"107.0#1", "140.0#2"});
  }
}

TEST_SUITE_END();

}  // namespace headgate::relay
