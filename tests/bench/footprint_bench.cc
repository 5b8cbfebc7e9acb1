// What the programs cost before anything flows: memory of a relay by its number of quiet tenants, and the time from
// start to ready.
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <pqxx/pqxx>

#include "base/clock.h"
#include "tests/bench/shared.h"
#include "tests/support/world.h"

namespace {

using namespace headgate::bench;
using namespace headgate::testing;
using namespace std::chrono_literals;

constexpr double kKiB = 1024, kMiB = 1024 * 1024;

// Tenants with one transaction each.
void write_tenants(const std::string& uri, int count) {
  pqxx::connection connection(uri);
  pqxx::nontransaction work(connection);
  work.exec("SET synchronous_commit = off");
  work.exec(
      fmt::format("DO $$ BEGIN FOR i IN 1..{} LOOP"
                  " INSERT INTO tenants (id, name) VALUES ('quiet' || i, 'quiet' || i);"
                  " INSERT INTO transactions (tenant_id) VALUES ('quiet' || i);"
                  " INSERT INTO relation_tuples (entity_type, entity_id, relation, subject_type, subject_id,"
                  " subject_relation, tenant_id) VALUES ('doc', 'd', 'owner', 'user', 'u', '', 'quiet' || i);"
                  " COMMIT; END LOOP; END $$",
                  count));
}

bool everything_delivered(const RelayProgram& relay, size_t events) {
  const auto status = nlohmann::json::parse(relay.status());
  return std::ranges::all_of(status.at("sinks"),
                             [&](const auto& sink) { return sink.at("delivered").template get<size_t>() >= events; });
}

// Delivers the only event of each tenant, starts anew and reads the memory when nothing happens any more.
double quiet_bytes(const std::set<std::string>& sinks, int tenants, const std::string& name) {
  const auto world = World::create({.sinks = sinks, .database_uri = database().make(name), .subscribe = {}});
  if (world == nullptr) return 0;
  write_tenants(world->database_uri(), tenants);
  RelayProgram& relay = world->relay();
  relay.start();
  CHECK(wait_until([&] { return everything_delivered(relay, static_cast<size_t>(tenants)); }, 60s));
  relay.stop();
  relay.start();
  // Its memory grows for a moment behind readiness; what stays is meant.
  headgate::system_clock().sleep(3s, {});
  return static_cast<double>(relay.resident_bytes());
}

void measure_memory(const std::set<std::string>& sinks, const std::string& what) {
  const std::string prefix = "quiet" + std::to_string(sinks.size());
  const double none = quiet_bytes(sinks, 0, prefix + "_none");
  const double hundred = quiet_bytes(sinks, 100, prefix + "_hundred");
  const double many = quiet_bytes(sinks, 10'000, prefix + "_many");
  const auto add = [&](const std::string& tenants, double bytes) {
    table().add({fmt::format("relay memory, {} quiet tenants, {}", tenants, what),
                 fmt::format("{:.1f} MiB", bytes / kMiB), "40 MiB (budget of the base)", ratio(bytes / kMiB, 40),
                 "resident, three seconds after a restart"});
  };
  add("0", none);
  add("100", hundred);
  add("10,000", many);
  const double each = (many - none) / 10'000;
  table().add({fmt::format("relay memory for each quiet tenant, {}", what), fmt::format("{:.2f} KiB", each / kKiB),
               "1 KiB (budget)", ratio(each / kKiB, 1), "difference between 10,000 tenants and none"});
  table().save();
}

// Milliseconds to ready; the fifth of five tells the worst.
std::vector<double> start_times(Program& program) {
  std::vector<double> ms;
  for (int i = 0; i < 5; ++i) {
    program.stop();
    const auto begin = Clock::now();
    program.start();
    ms.push_back(seconds_since(begin) * 1'000);
  }
  std::ranges::sort(ms);
  return ms;
}

void add_start(const std::string& program, const std::vector<double>& ms) {
  table().add({fmt::format("start of the {} to ready: median / worst of 5", program),
               fmt::format("{:.0f} ms / {:.0f} ms", ms[2], ms[4]), "1,000 ms (budget)", ratio(ms[4], 1'000),
               "from fork to the first 200 of /readyz, everything it needs runs already"});
}

}  // namespace

TEST_SUITE("bench/footprint") {
  TEST_CASE("memory of a relay with quiet tenants") {
    if (postgres_binaries().empty()) HG_SKIP("no PostgreSQL server binaries (initdb, postgres) on this machine");
    measure_memory({"file"}, "one sink");
    measure_memory({"file", "nats_core", "nats_jetstream", "redis_pubsub", "redis_streams"}, "five sinks");
  }

  TEST_CASE("start to ready") {
    if (postgres_binaries().empty()) HG_SKIP("no PostgreSQL server binaries (initdb, postgres) on this machine");
    const std::set<std::string> sinks = {"file", "nats_jetstream", "redis_streams"};
    const auto world = World::create({.sinks = sinks, .database_uri = database().make("starts"), .subscribe = {}});
    if (world == nullptr) return;
    add_start("engine", start_times(world->engine()));
    world->relay().start();
    add_start("relay, three sinks", start_times(world->relay()));
    table().save();
  }
}
