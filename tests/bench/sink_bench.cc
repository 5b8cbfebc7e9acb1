// How many events a second each sink takes from a backlog, into real servers that are started for it. At the end a
// subscriber reads durable sinks back: every event once, in order per tenant.
//
//   HEADGATE_BENCH_EVENTS=200000 headgate_sink_bench -tc=kafka
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ctime>

#include "sinks/table.h"
#include "sinks/testing/contract.h"
#include "sinks/testing/servers.h"
#include "tests/support/test_main.h"

namespace headgate::sinks {
namespace {

constexpr size_t kTenants = 50;
constexpr size_t kBatch = 5'000;
constexpr size_t kPayload = 150;  // about 200 bytes with the rest of the message

struct Target {
  std::unique_ptr<TestServer> server;
};

std::unique_ptr<TestServer> start_for(const std::string& kind, std::string* reason) {
  if (kind.rfind("redis", 0) == 0) return start_redis(reason, {"--appendonly", "no"});
  if (kind.rfind("nats", 0) == 0) return start_nats(reason);
  return start_kafka(reason);
}

KindSettings settings_for(const std::string& kind, const Target& target, const std::string& folder) {
  KindSettings settings = find_kind(kind)->defaults;
  if (auto* file = std::get_if<FileSettings>(&settings)) file->path = folder + "/events.jsonl";
  if (auto* streams = std::get_if<RedisStreamsSettings>(&settings)) {
    streams->connection.port = static_cast<uint16_t>(target.server->port());
  }
  if (auto* pubsub = std::get_if<RedisPubsubSettings>(&settings)) {
    pubsub->connection.port = static_cast<uint16_t>(target.server->port());
  }
  if (auto* jetstream = std::get_if<JetStreamSettings>(&settings)) {
    jetstream->connection.url = "nats://" + target.server->address();
    jetstream->create_stream = true;
  }
  if (auto* core = std::get_if<NatsCoreSettings>(&settings))
    core->connection.url = "nats://" + target.server->address();
  if (auto* kafka = std::get_if<KafkaSettings>(&settings)) {
    kafka->brokers = target.server->address();
    kafka->create_topics = true;
    kafka->partitions = 4;
    kafka->recover_records = 10'000'000;
  }
  return settings;
}

std::unique_ptr<testing::Subscriber> subscribe(const std::string& kind, const Target& target,
                                               const std::string& folder) {
  if (kind == "redis_streams") return testing::subscribe_redis_streams(target.server->address(), "headgate:*");
  if (kind == "nats_jetstream") return testing::subscribe_jetstream(target.server->address(), "HEADGATE", "headgate.>");
  if (kind == "kafka") return testing::subscribe_kafka(target.server->address(), "headgate.permission-changes");
  if (kind == "file") return testing::subscribe_file(folder + "/events.jsonl");
  return nullptr;
}

// Complete and in order per tenant, each event once.
bool verify(testing::Subscriber& subscriber, size_t events) {
  if (!subscriber.wait_for(events, std::chrono::minutes(3))) return false;
  std::map<std::string, uint64_t> last;
  for (const testing::Received& event : subscriber.received()) {
    if (event.sequence != ++last[event.tenant]) return false;
  }
  return subscriber.count() == events && subscriber.faults().empty();
}

int run(const std::string& kind, const std::vector<Delivery>& deliveries) {
  const testing::TempFolder folder("headgate-bench");
  Target target;
  std::string reason;
  if (kind != "file") target.server = start_for(kind, &reason);
  if (kind != "file" && target.server == nullptr) {
    testing::skip_case(reason);
    return 0;
  }
  const auto made = make_sink({"bench", {}, settings_for(kind, target, folder.path())});
  if (!made.ok() || !(*made)->open({}).ok()) return 1;
  Sink& sink = **made;
  const auto start = std::chrono::steady_clock::now();
  const std::clock_t cpu_start = std::clock();
  for (size_t at = 0; at < deliveries.size(); at += kBatch) {
    const size_t size = std::min(kBatch, deliveries.size() - at);
    const WriteResult result = sink.write({{&deliveries[at], size}, {0, 1}}, {});
    if (result.written != size) {
      std::printf("%-16s FAILED: %s\n", kind.c_str(), describe(result.status).c_str());
      return 1;
    }
  }
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  const double cpu = static_cast<double>(std::clock() - cpu_start) / CLOCKS_PER_SEC;
  const auto subscriber = subscribe(kind, target, folder.path());
  const char* checked = subscriber == nullptr ? "not checked (signal)" : "complete, in order";
  const bool good = subscriber == nullptr || verify(*subscriber, deliveries.size());
  std::printf("%-16s %9.0f events/s   %zu events in %.2f s   %.1f us of our CPU each   %s\n", kind.c_str(),
              static_cast<double>(deliveries.size()) / took.count(), deliveries.size(), took.count(),
              cpu * 1e6 / static_cast<double>(deliveries.size()), good ? checked : "WRONG CONTENT");
  return good ? 0 : 1;
}

// HEADGATE_BENCH_EVENTS sets the size of the backlog.
void bench(const std::string& kind) {
  const char* given = std::getenv("HEADGATE_BENCH_EVENTS");
  const size_t events = given == nullptr ? 200'000 : std::strtoul(given, nullptr, 10);
  std::vector<std::string> tenants;
  for (size_t i = 0; i < kTenants; ++i) tenants.push_back(fmt::format("tenant-{}", i));
  CHECK(run(kind, sample_deliveries(tenants, events, kPayload)) == 0);
}

}  // namespace

TEST_SUITE("bench/sinks") {
  TEST_CASE("redis_streams") { bench("redis_streams"); }
  TEST_CASE("redis_pubsub") { bench("redis_pubsub"); }
  TEST_CASE("nats_jetstream") { bench("nats_jetstream"); }
  TEST_CASE("nats_core") { bench("nats_core"); }
  TEST_CASE("kafka") { bench("kafka"); }
  TEST_CASE("file") { bench("file"); }
}

}  // namespace headgate::sinks
