// Every sink three times on the same servers: a bare client (the limit), the sink object alone with events from memory,
// and the whole path from a backlog in PostgreSQL.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "base/clock.h"
#include "sinks/table.h"
#include "tests/bench/backlog_world.h"
#include "tests/bench/bare_sinks.h"
#include "tests/bench/cpu.h"

namespace {

using namespace headgate::bench;
using namespace headgate::testing;
using namespace std::chrono_literals;
namespace sinks = headgate::sinks;

constexpr size_t kMemoryEvents = 200'000;
constexpr size_t kMemoryBatch = 4'096;

struct Limit {
  std::string what;
  double (*measure)(const BareRun&);
};

// What is measured: a kind of sink, or Kafka in its other mode, which counts as a kind of its own here.
constexpr char kKafkaTransactional[] = "kafka, transactional";

// The kind of the relay's settings.
std::string kind_of(const std::string& subject) { return subject == kKafkaTransactional ? "kafka" : subject; }

const std::map<std::string, std::vector<Limit>>& limits() {
  static const std::map<std::string, std::vector<Limit>> all = {
      {"file", {{"bare write", &bare_file}}},
      {"kafka", {{"bare librdkafka", &bare_kafka}}},
      {kKafkaTransactional, {{"bare librdkafka in transactions", &bare_kafka_transactions}}},
      {"nats_core", {{"bare publish", &bare_nats_core}}},
      {"nats_jetstream", {{"bare async publish", &bare_jetstream}}},
      {"redis_pubsub", {{"bare PUBLISH", &bare_redis_publish}}},
      {"redis_streams", {{"bare XADD", &bare_redis_xadd}, {"bare script", &bare_redis_script}}},
  };
  return all;
}

// Of architecture section 7; 0: none.
double budget_of(const std::string& sink) {
  if (sink == "kafka" || sink == "nats_jetstream") return 100'000;
  if (sink == kKafkaTransactional) return 50'000;
  return sink == "redis_streams" ? 150'000 : 0;
}

std::string server_of(const std::string& sink) {
  if (sink == "file") return "";
  return kind_of(sink) == "kafka" ? "kafka" : sink.substr(0, sink.find('_'));
}

std::string address_of(World& world, const std::string& sink) {
  std::string unused;
  if (sink == "file") return world.folder() + "/bare.jsonl";
  if (kind_of(sink) == "kafka") return kafka_brokers(&unused);
  return sink.starts_with("redis") ? world.redis().address() : world.nats().address();
}

pid_t server_pid(World& world, const std::string& sink) {
  const std::string address = address_of(world, sink);
  return listener_of(std::stoi(address.substr(address.rfind(':') + 1)));
}

std::map<std::string, pid_t> with_server(World& world, const std::string& sink, std::map<std::string, pid_t> programs) {
  if (sink != "file") programs[server_of(sink)] = server_pid(world, sink);
  return programs;
}

// The rate of the first limit, which the other rows are compared with.
double measure_limits(World& world, const std::string& sink, const std::vector<WireEvent>& events) {
  double first = 0;
  for (const Limit& limit : limits().at(sink)) {
    const CpuWatch cpu(with_server(world, sink, {{"client", ::getpid()}}));
    const double rate = limit.measure({address_of(world, sink), "bare", events, kMemoryEvents});
    table().add({limit.what + " for " + sink, per_second(rate), "", "",
                 fmt::format("the same headers and value; {}", describe_cpu(cpu.microseconds_each(kMemoryEvents)))});
    if (first == 0) first = rate;
  }
  return first;
}

sinks::KindSettings settings_for(World& world, const std::string& sink) {
  sinks::KindSettings settings = sinks::find_kind(kind_of(sink))->defaults;
  const std::string address = address_of(world, sink);
  const auto port = static_cast<uint16_t>(sink == "file" ? 0 : std::stoi(address.substr(address.rfind(':') + 1)));
  if (auto* file = std::get_if<sinks::FileSettings>(&settings)) file->path = world.folder() + "/memory.jsonl";
  if (auto* streams = std::get_if<sinks::RedisStreamsSettings>(&settings)) {
    streams->connection.port = port;
    streams->prefix = "memory";
  }
  if (auto* pubsub = std::get_if<sinks::RedisPubsubSettings>(&settings)) {
    pubsub->connection.port = port;
    pubsub->prefix = "memory-signals";
  }
  if (auto* jetstream = std::get_if<sinks::JetStreamSettings>(&settings)) {
    jetstream->connection.url = "nats://" + address;
    jetstream->create_stream = true;
    jetstream->prefix = "memory";
    jetstream->stream = "memory";
  }
  if (auto* core = std::get_if<sinks::NatsCoreSettings>(&settings)) {
    core->connection.url = "nats://" + address;
    core->prefix = "memory-signals";
  }
  if (auto* kafka = std::get_if<sinks::KafkaSettings>(&settings)) {
    kafka->brokers = address;
    kafka->create_topics = true;
    kafka->partitions = 4;
    kafka->prefix = sink == kKafkaTransactional ? "memory-exact" : "memory";
    if (sink == kKafkaTransactional) kafka->mode = "transactional";
  }
  return settings;
}

std::unique_ptr<Subscriber> read_memory(World& world, const std::string& sink) {
  const std::string address = address_of(world, sink);
  if (sink == "file") return subscribe_file(world.folder() + "/memory.jsonl");
  if (sink == "kafka") return subscribe_kafka(address, "memory.permission-changes");
  if (sink == kKafkaTransactional) return subscribe_kafka(address, "memory-exact.permission-changes");
  if (sink == "nats_jetstream") return subscribe_jetstream(address, "memory", "memory.>");
  if (sink == "redis_streams") return subscribe_redis_streams(address, "memory:*");
  if (sink == "nats_core") return subscribe_nats_core(address, "memory-signals.>");
  return subscribe_redis_pubsub(address, "memory-signals:*");
}

// Everything once, and in order per tenant.
void verify(const std::string& sink, const Subscriber& subscriber, size_t total) {
  CHECK_MESSAGE(subscriber.wait_for(total, 120s), sink << ": " << subscriber.count());
  std::map<std::string, Drain> drains;
  for (const Received& event : subscriber.received()) drains[event.tenant].take(event.xid);
  CHECK(drains.size() == 4);
  for (const auto& [tenant, drain] : drains) {
    CHECK(drain.messages == total / 4);
    CHECK_MESSAGE(drain.ordered, sink);
  }
}

// The sink object alone. Nobody reads while it writes.
void measure_memory(World& world, const std::string& sink, const std::vector<sinks::Delivery>& deliveries,
                    double bare) {
  const auto made = sinks::make_sink({sink, {}, settings_for(world, sink)});
  REQUIRE(made.ok());
  REQUIRE((*made)->open({}).ok());
  const CpuWatch cpu(with_server(world, sink, {{"sink", ::getpid()}}));
  const auto begin = Clock::now();
  for (size_t at = 0; at < deliveries.size(); at += kMemoryBatch) {
    const size_t size = std::min(kMemoryBatch, deliveries.size() - at);
    const auto result = (*made)->write({{&deliveries[at], size}, {1}}, {});
    REQUIRE_MESSAGE(result.written == size, headgate::describe(result.status));
  }
  const double rate = static_cast<double>(deliveries.size()) / seconds_since(begin);
  const std::string cost = describe_cpu(cpu.microseconds_each(deliveries.size()));
  const bool signal = (*made)->info().guarantee == sinks::Guarantee::kSignal;
  if (!signal) verify(sink, *read_memory(world, sink), deliveries.size());
  table().add({"events from memory to " + sink, per_second(rate), per_second(bare) + " " + limits().at(sink)[0].what,
               ratio(rate, bare),
               fmt::format("the sink object alone; {}; {}", cost,
                           signal ? "a signal, nobody listens" : "count and order verified")});
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

void measure_drain(World& world, const std::string& sink, size_t total, double bare) {
  const auto relay = world.make_relay({kind_of(sink)}, "relay");
  const bool signal = sink == "redis_pubsub" || sink == "nats_core";
  // Signals are read as they come. Others are read back only afterwards, so that the reader costs the relay nothing.
  if (signal) world.subscribe({kind_of(sink)});
  CpuWatch cpu(with_server(world, sink, {{"engine", world.engine().pid()}, {"postgres", database().pid()}}));
  relay->start();
  const auto begin = Clock::now();
  REQUIRE_MESSAGE(wait_for_delivery(*relay, total, 180s), delivered(*relay) << " of " << total);
  const double rate = static_cast<double>(total) / seconds_since(begin);
  auto cost = cpu.microseconds_each(total);
  cost["relay"] = cpu_seconds(relay->pid()) * 1e6 / static_cast<double>(total);
  relay->stop();
  if (!signal) world.subscribe({kind_of(sink)});
  verify(sink, world.subscriber(kind_of(sink)), total);
  const double budget = budget_of(sink);
  table().add(
      {"backlog to " + sink, per_second(rate), per_second(bare) + " " + limits().at(sink)[0].what, ratio(rate, bare),
       fmt::format("one sink in the relay, from ready to the last acknowledgement; {}{}; {}",
                   budget == 0 ? "" : fmt::format("budget {}; ", per_second(budget)), describe_cpu(cost),
                   signal ? "read as it comes by the harness; count and order verified" : "count and order verified")});
}

void measure(const std::string& sink) {
  if (postgres_binaries().empty()) HG_SKIP("no PostgreSQL server binaries (initdb, postgres) on this machine");
  const size_t total = backlog_size();
  WorldOptions options{.sinks = {kind_of(sink)}, .subscribe = {}};
  if (sink == kKafkaTransactional) options.sink_yaml["kafka"] = "    mode: transactional\n";
  const auto world = backlog_world(options, total);
  if (world == nullptr || world->sinks().empty()) return;
  if (server_of(sink) == "redis") leave_append_only_file(address_of(*world, sink));
  const auto deliveries = memory_deliveries(kMemoryEvents);
  // Later ones: the first of each tenant have no previous token.
  const double bare =
      measure_limits(*world, sink, wire_events({deliveries.begin() + 1'000, deliveries.begin() + 2'000}));
  measure_memory(*world, sink, deliveries, bare);
  // The engine's ring holds what it saw being written; a new process has to read it all.
  world->engine().stop();
  world->engine().start();
  measure_drain(*world, sink, total, bare);
  table().save();
}

}  // namespace

TEST_SUITE("bench/sinks") {
  TEST_CASE("sink: file") { measure("file"); }
  TEST_CASE("sink: kafka") { measure("kafka"); }
  TEST_CASE("sink: kafka, transactional") { measure(kKafkaTransactional); }
  TEST_CASE("sink: nats_core") { measure("nats_core"); }
  TEST_CASE("sink: nats_jetstream") { measure("nats_jetstream"); }
  TEST_CASE("sink: redis_pubsub") { measure("redis_pubsub"); }
  TEST_CASE("sink: redis_streams") { measure("redis_streams"); }
}
