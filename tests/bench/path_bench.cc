// The whole path measured: idle cost, drain of a backlog. Prints rows as it goes and writes the table to the file of
// HEADGATE_BENCH_RESULTS. HEADGATE_BENCH_TRANSACTIONS sets the size of the backlog (default 400,000).
#include <fmt/format.h>

#include <cstdlib>
#include <nlohmann/json.hpp>
#include <pqxx/pqxx>

#include "base/clock.h"
#include "tests/bench/backlog.h"
#include "tests/bench/shared.h"
#include "tests/support/delivery.h"
#include "tests/support/world.h"

namespace {

using namespace headgate::bench;
using namespace headgate::testing;
using namespace std::chrono_literals;

size_t backlog_size() {
  const char* given = std::getenv("HEADGATE_BENCH_TRANSACTIONS");
  return given == nullptr ? 400'000 : std::strtoull(given, nullptr, 10);
}

// Milliseconds of database time a second while `streams` Watch streams wait and nobody writes.
void measure_idle(World& world, const std::string& uri, size_t streams, const std::string& history) {
  std::vector<std::unique_ptr<WatchReader>> readers;
  for (size_t i = 0; i < streams; ++i) {
    readers.push_back(std::make_unique<WatchReader>(world.client(), backlog_tenants()[i % 4], ""));
  }
  for (const auto& reader : readers) REQUIRE(reader->wait_open(30s));
  reset_statements(uri);
  const auto begin = Clock::now();
  // Time passes here because its passing is what is measured.
  headgate::system_clock().sleep(8s, {});
  const StatementCost cost = statement_cost(uri);
  const double seconds = seconds_since(begin);
  for (const auto& reader : readers) CHECK(!reader->wait_end(0ms));
  table().add({fmt::format("idle: {} streams, {} retained transactions", streams, history),
               fmt::format("{:.2f} ms/s", cost.total_ms / seconds), "5 ms/s (budget)",
               ratio(cost.total_ms / seconds, 5),
               fmt::format("database time by pg_stat_statements, {:.0f} statements a second",
                           static_cast<double>(cost.calls) / seconds)});
}

// Counts messages and checks that xids rise; nothing is kept.
struct Drain {
  size_t messages = 0;
  uint64_t last_xid = 0;
  bool ordered = true;

  void take(uint64_t xid) {
    ++messages;
    ordered &= xid > last_xid;
    last_xid = xid;
  }
};

Drain drain_watch(EngineClient& client, const std::string& tenant, size_t expected) {
  Drain drain;
  grpc::ClientContext context;
  set_deadline(context, 120s);
  base::v1::WatchRequest request;
  request.set_tenant_id(tenant);
  request.set_snap_token(kBeginning);
  const auto stream = client.watch().Watch(&context, request);
  base::v1::WatchResponse response;
  while (drain.messages < expected && stream->Read(&response)) {
    drain.take(xid_of_token(response.changes().snap_token()));
  }
  context.TryCancel();
  return drain;
}

void measure_watch(World& world, size_t total, double bare) {
  const auto tenants = backlog_tenants();
  std::vector<Drain> drains(tenants.size());
  const auto begin = Clock::now();
  {
    std::vector<std::jthread> threads;
    for (size_t i = 0; i < tenants.size(); ++i) {
      threads.emplace_back([&, i] { drains[i] = drain_watch(world.client(), tenants[i], total / tenants.size()); });
    }
  }
  const double rate = static_cast<double>(total) / seconds_since(begin);
  for (const Drain& drain : drains) {
    CHECK(drain.messages == total / tenants.size());
    CHECK(drain.ordered);
  }
  table().add({"backlog through base.v1.Watch, 4 tenants, a stream each", per_second(rate),
               per_second(bare) + " bare libpq range read", ratio(rate, bare), "count and order verified"});
}

void measure_feed(World& world, size_t total, double bare) {
  Drain drain;
  size_t bytes = 0;
  grpc::ClientContext context;
  set_deadline(context, 120s);
  headgate::v1::SubscribeRequest request;
  request.set_all_tenants(true);
  request.set_default_start(headgate::v1::START_POLICY_EARLIEST);
  const auto begin = Clock::now();
  const auto stream = world.client().feed().Subscribe(&context, request);
  headgate::v1::FeedMessage message;
  while (drain.messages < total && stream->Read(&message)) {
    for (const auto& transaction : message.batch().transactions()) {
      drain.take(transaction.xid());
      bytes += transaction.changes().size();
    }
  }
  const double rate = static_cast<double>(total) / seconds_since(begin);
  context.TryCancel();
  CHECK(drain.messages == total);
  CHECK(drain.ordered);
  CHECK(bytes > 0);
  table().add({"backlog through headgate.v1.Feed, all tenants on one stream", per_second(rate),
               per_second(bare) + " bare libpq range read", ratio(rate, bare), "count and order verified"});
}

// What the relay says it has delivered to its only sink.
size_t delivered(const RelayProgram& relay) {
  const auto status = nlohmann::json::parse(relay.status());
  return status.at("sinks").at(0).at("delivered").get<size_t>();
}

// Asks seldom: the answer costs the relay time that is measured here.
bool wait_for_delivery(const RelayProgram& relay, size_t total, std::chrono::seconds timeout) {
  const auto end = Clock::now() + timeout;
  while (delivered(relay) < total) {
    if (Clock::now() > end) return false;
    headgate::system_clock().sleep(20ms, {});
  }
  return true;
}

void measure_sink(World& world, const std::string& sink, size_t total, double bare) {
  const auto relay = world.make_relay({sink}, "relay-" + sink);
  relay->start();
  const auto begin = Clock::now();
  REQUIRE_MESSAGE(wait_for_delivery(*relay, total, 180s), delivered(*relay) << " of " << total);
  const double rate = static_cast<double>(total) / seconds_since(begin);
  relay->stop();
  // Read back only now, so that the reader costs the relay nothing; signals are read as they come.
  if (!world.subscribers().contains(sink)) world.subscribe({sink});
  Subscriber& subscriber = world.subscriber(sink);
  CHECK_MESSAGE(subscriber.wait_for(total, 120s), sink << ": " << subscriber.count());
  std::map<std::string, Drain> drains;
  for (const Received& event : subscriber.received()) drains[event.tenant].take(event.xid);
  for (const auto& [tenant, drain] : drains) {
    CHECK(drain.messages == total / 4);
    CHECK_MESSAGE(drain.ordered, sink);
  }
  table().add({"backlog to " + sink, per_second(rate), per_second(bare) + " bare libpq range read", ratio(rate, bare),
               "one sink in the relay, from ready to the last acknowledgement; count and order verified"});
}

}  // namespace

TEST_SUITE("bench/path") {
  TEST_CASE("idle cost and drain of a backlog") {
    if (postgres_binaries().empty()) HG_SKIP("no PostgreSQL server binaries (initdb, postgres) on this machine");
    const std::string uri = database().make("backlog");
    HG_WORLD(world, {.engine_yaml = kManyStreams, .database_uri = uri, .subscribe = {"nats_core", "redis_pubsub"}});
    world->create_tenants(backlog_tenants());
    write_backlog(uri, 1, 1'000);
    for (const size_t streams : {1, 100, 1'000}) measure_idle(*world, uri, streams, "1 k");

    const size_t total = backlog_size() / 4 * 4;
    write_backlog(uri, 1'001, total);
    measure_idle(*world, uri, 100, fmt::format("{} k", total / 1'000));
    // The engine's ring holds what it saw being written; a new process has to read it all.
    world->engine().stop();
    world->engine().start();
    const double bare = bare_read_rate(uri, total);
    measure_watch(*world, total, bare);
    measure_feed(*world, total, bare);
    for (const std::string& sink : world->sinks()) measure_sink(*world, sink, total, bare);
    table().save();
  }
}
