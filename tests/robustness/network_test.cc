// Every edge of the path leads through a proxy that breaks the network under load: each fault ends, the path goes on by
// itself within a bounded time, and what the sinks hold is right.
#include <random>

#include "tests/robustness/aftermath.h"
#include "tests/robustness/schedule.h"

namespace {

using namespace headgate::testing;
using namespace std::chrono_literals;

// On a machine that is busy with other tests; the time-outs below allow about 10 seconds.
constexpr std::chrono::seconds kAfterFaults = 45s;

struct Fault {
  const char* name;
  std::chrono::milliseconds hold;
  std::function<void(FaultProxy&)> begin;
};

const std::vector<Fault> kFaults = {
    {"delay", 600ms, [](FaultProxy& proxy) { proxy.delay(60ms); }},
    {"slow reader", 900ms, [](FaultProxy& proxy) { proxy.limit(30'000); }},
    {"standstill", 900ms, [](FaultProxy& proxy) { proxy.freeze(); }},
    {"cut", 700ms, [](FaultProxy& proxy) { proxy.cut(); }},
    {"half-open", 2'000ms, [](FaultProxy& proxy) { proxy.half_open(); }},
    {"reset of a request", 300ms, [](FaultProxy& proxy) { proxy.reset_after(FaultProxy::kToServer, 700); }},
    {"reset of an answer", 300ms, [](FaultProxy& proxy) { proxy.reset_after(FaultProxy::kToClient, 5); }},
};

LoadOptions load_of(World& world) {
  return {.engine = world.engine().address(),
          .database = world.database_uri(),
          .tenants = {"n1", "n2", "n3"},
          .api_writers = 2,
          .sql_writers = 1,
          .transactions = 1'000'000,
          .rate = 150};
}

// Holds the fault for its time, on all of the edges at once.
void suffer(World& world, const std::set<std::string>& edges, const Fault& fault) {
  for (const std::string& edge : edges) fault.begin(world.proxy(edge));
  wait_until([] { return false; }, fault.hold);
}

// A reset waits for its bytes; afterwards all is well.
void heal(World& world, const std::set<std::string>& edges) {
  for (const std::string& edge : edges) {
    CHECK_MESSAGE(wait_until([&] { return !world.proxy(edge).reset_pending(); }, kAfterFaults), edge);
    world.proxy(edge).heal();
  }
}

void say_what_passed(World& world, const std::set<std::string>& edges) {
  for (const std::string& edge : edges) {
    const FaultProxy::Counters counters = world.proxy(edge).counters();
    MESSAGE(edge << ": " << counters.accepted << " connections, " << counters.resets << " resets, "
                 << counters.to_server + counters.to_client << " bytes, " << counters.swallowed << " swallowed");
    CHECK(counters.to_server > 0);
    CHECK(counters.resets > 0);
    CHECK(counters.swallowed > 0);
    // Whoever connects in a loop without a pause would have thousands.
    CHECK(counters.accepted < 2'000);
  }
}

// Every fault on the edges, one after the other, then more by chance while there is time. Afterwards the sinks go on.
void attack(World& world, Beacon& beacon, const std::set<std::string>& edges, const std::set<std::string>& sinks) {
  beacon.light("the start", sinks, kAfterFaults);
  const auto end = std::chrono::steady_clock::now() + attack_time(0s);
  for (const Fault& fault : kFaults) {
    suffer(world, edges, fault);
    heal(world, edges);
    beacon.light(fault.name, sinks, kAfterFaults);
  }
  if (std::chrono::steady_clock::now() >= end) return;
  std::mt19937_64 random(attack_seed());
  while (std::chrono::steady_clock::now() < end) {
    std::set<std::string> some;
    for (const std::string& edge : edges) {
      if (random() % 2 == 0) some.insert(edge);
    }
    const Fault& first = kFaults[random() % kFaults.size()];
    const Fault& second = kFaults[random() % kFaults.size()];
    suffer(world, some, first);
    if (random() % 2 == 0) suffer(world, some, second);
    heal(world, some);
    beacon.light(std::string(first.name) + " and perhaps " + second.name, sinks, kAfterFaults);
  }
}

}  // namespace

TEST_SUITE("robustness/network") {
  TEST_CASE("sinks: faults between relay and Redis, NATS and Kafka lose nothing and do not touch the others") {
    HG_WORLD(world, {.sinks = kDurableSinks,
                     .subscribe = kDurableSinks,
                     .proxied = {"redis", "nats", "kafka"},
                     .sink_yaml = kQuickSinks});
    world->create_tenants({"n1", "n2", "n3"});
    Beacon beacon(*world);
    world->relay().start();
    Load load(load_of(*world));
    attack(*world, beacon, {"redis", "nats", "kafka"}, world->sinks());
    // Kafka may store what was on its way when we gave up waiting for it.
    check_aftermath(*world, load, world->sinks(), {"kafka"}, 60s);
    say_what_passed(*world, {"redis", "nats", "kafka"});
  }

  TEST_CASE("upstream: faults between relay and engine lose nothing, and silence is noticed") {
    const std::set<std::string> sinks = {"file", "redis_streams"};
    HG_WORLD(world, {.sinks = sinks, .subscribe = sinks, .proxied = {"upstream"}, .upstream_yaml = kQuickUpstream});
    world->create_tenants({"n1", "n2", "n3"});
    Beacon beacon(*world);
    world->relay().start();
    Load load(load_of(*world));
    attack(*world, beacon, {"upstream"}, sinks);
    check_aftermath(*world, load, sinks, {}, 60s);
    say_what_passed(*world, {"upstream"});
  }

  TEST_CASE("database: faults between engine and PostgreSQL lose nothing, and writes go on afterwards") {
    const std::set<std::string> sinks = {"file", "redis_streams"};
    HG_WORLD(world, {.sinks = sinks,
                     .engine_yaml = "  connect_timeout: 2s\n  statement_timeout: 1s\nfeed:\n  hang_max: 1500ms\n",
                     .subscribe = sinks,
                     .proxied = {"database"}});
    world->create_tenants({"n1", "n2", "n3"});
    Beacon beacon(*world);
    world->relay().start();
    LoadOptions options = load_of(*world);
    options.through_outages = true;
    Load load(options);
    attack(*world, beacon, {"database"}, sinks);
    CHECK(wait_until([&] { return http_get(world->engine().admin_port(), "/readyz").has_value(); }, kAfterFaults));
    check_aftermath(*world, load, sinks, {}, 60s);
    say_what_passed(*world, {"database"});
  }

  TEST_CASE(
      "token store: faults on the way to PostgreSQL and to Redis stop no sink, and cursors are exact in the end") {
    const std::set<std::string> sinks = {"file", "redis_streams"};
    for (const std::string& store : {std::string("postgres"), std::string("redis")}) {
      CAPTURE(store);
      const std::string timeouts =
          store == "postgres" ? "    connect_timeout: 2s\n    statement_timeout: 1s\n" : "    timeout: 1500ms\n";
      HG_WORLD(world,
               {.sinks = sinks, .subscribe = sinks, .proxied = {"tokens"}, .tokens = store, .tokens_yaml = timeouts});
      world->create_tenants({"n1", "n2", "n3"});
      Beacon beacon(*world);
      world->relay().start();
      Load load(load_of(*world));
      attack(*world, beacon, {"tokens"}, sinks);
      // A relay that stops and starts again repeats nothing when its last cursors were committed.
      load.stop();
      CHECK(world->relay().stop(30s) == 0);
      world->relay().start();
      beacon.light("a restart", sinks, kAfterFaults);
      check_aftermath(*world, load, sinks, {}, 60s);
      say_what_passed(*world, {"tokens"});
    }
  }
}
