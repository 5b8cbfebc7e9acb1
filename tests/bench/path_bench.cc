// The engine's side of the path: idle cost, and the drain of a backlog through its streams. Prints rows as it goes and
// writes the table to the file of HEADGATE_BENCH_RESULTS.
#include <fmt/format.h>

#include <thread>

#include "base/clock.h"
#include "tests/bench/backlog_world.h"
#include "tests/support/delivery.h"
#include "tests/support/engine_stubs.h"

namespace {

using namespace headgate::bench;
using namespace headgate::testing;
using namespace std::chrono_literals;

// Milliseconds of database time a second while `streams` Watch streams wait and nobody writes.
void measure_idle(World& world, size_t streams) {
  const std::string& uri = backlog_uri();
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
  table().add({fmt::format("idle: {} streams, {} k retained transactions", streams, backlog_filled() / 1'000),
               fmt::format("{:.2f} ms/s", cost.total_ms / seconds), "5 ms/s (budget)",
               ratio(cost.total_ms / seconds, 5),
               fmt::format("database time by pg_stat_statements, {:.0f} statements a second",
                           static_cast<double>(cost.calls) / seconds)});
}

Drain drain_watch(EngineClient& client, const std::string& tenant, size_t expected) {
  Drain drain;
  grpc::ClientContext context;
  set_deadline(context, 120s);
  base::v1::WatchRequest request;
  request.set_tenant_id(tenant);
  request.set_snap_token(kBeginning);
  const auto stream = client.stubs().watch->Watch(&context, request);
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
  const auto stream = world.client().stubs().feed->Subscribe(&context, request);
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

}  // namespace

TEST_SUITE("bench/path") {
  TEST_CASE("idle cost and drain of a backlog") {
    if (postgres_binaries().empty()) HG_SKIP("no PostgreSQL server binaries (initdb, postgres) on this machine");
    const auto world = backlog_world({.sinks = {}, .subscribe = {}}, 1'000);
    if (world == nullptr) return;
    for (const size_t streams : {1, 100, 1'000}) measure_idle(*world, streams);

    const size_t total = backlog_size();
    fill_backlog(total);
    measure_idle(*world, 100);
    // The engine's ring holds what it saw being written; a new process has to read it all.
    world->engine().stop();
    world->engine().start();
    const double bare = bare_read_rate(backlog_uri(), total);
    measure_watch(*world, total, bare);
    measure_feed(*world, total, bare);
    table().save();
  }
}
