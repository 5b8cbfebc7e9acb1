// A relay without gRPC whose source, sinks and token store outlive its restarts; for the tests of this folder.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "relay/delivery/distributor.h"
#include "relay/delivery/fakes.h"
#include "relay/tokens/memory_store.h"
#include "tests/support/test_main.h"

namespace headgate::relay::testing {

using headgate::testing::wait_until;

struct World {
  FakeUpstream source;
  MemoryStore store;
  std::map<std::string, std::shared_ptr<SinkStore>> sinks;
  DistributorSettings settings;
  WorkerSettings worker;
  Metrics metrics;
  TokenBucket budget{1000, 1000, system_clock()};
  std::unique_ptr<Distributor> relay;

  explicit World(std::vector<std::string> names = {"s"}) {
    for (const std::string& name : names) sinks[name] = std::make_shared<SinkStore>();
    settings.session.default_start = StartPolicy::kEarliest;
    settings.session.backoff = {Duration(1), Duration(20)};
    worker.retry = {Duration(1), Duration(20)};
    worker.commit.retry = {Duration(1), Duration(20)};
  }
  ~World() { stop(); }

  void start() {
    std::vector<SinkPart> parts;
    for (const auto& [name, kept] : sinks) parts.push_back({std::make_unique<StoreSink>(name, kept), worker});
    relay = std::make_unique<Distributor>(Distributor::Parts{source, store, system_clock(), metrics, budget}, settings);
    const Fence fence = store.acquire("test").value();
    REQUIRE(relay->start(std::move(parts), fence).ok());
  }
  void stop(Duration drain = Duration(5000)) {
    if (relay) relay->stop(drain);
    relay.reset();
  }
  void restart() {
    stop();
    start();
  }
  // Ends without the last commit, as a kill would: the token store answers nothing from `unplug` on.
  void kill() {
    store.fail_with(unavailable("killed"));
    stop(Duration(0));
    store.fail_with(ok_status());
  }
  SinkStore& sink(const std::string& name = "s") { return *sinks.at(name); }
  bool has(size_t events, const std::string& name = "s") {
    return wait_until([&] { return sink(name).size() >= events; });
  }
  SinkStatus status(const std::string& name = "s") {
    for (const SinkStatus& line : relay->sinks()) {
      if (line.name == name) return line;
    }
    return {};
  }
  bool reaches(SinkState state, const std::string& name = "s") {
    return wait_until([&] { return status(name).state == state; });
  }
  uint64_t committed(const std::string& tenant, const std::string& name = "s") {
    return store.load(name).value()[tenant].xid;
  }
};

using Texts = std::vector<std::string>;

// Whether the sink gets these events of the tenant and no other before them; see SinkStore::of(). Prints what came.
inline bool arrives(World& world, const std::string& tenant, const Texts& wanted, const std::string& sink = "s") {
  wait_until([&] { return world.sink(sink).of(tenant).size() >= wanted.size(); });
  const Texts found = world.sink(sink).of(tenant);
  if (found != wanted) MESSAGE("tenant " << tenant << ": " << fmt::format("{}", fmt::join(found, ", ")));
  return found == wanted;
}

}  // namespace headgate::relay::testing
