// From the commit of a transaction, by PostgreSQL's own record of its time, to its arrival at a subscriber of a sink,
// at a constant rate of transactions. Each sink alone in a relay, all together, and the engine's streams without a
// relay.
//
// Two thousand transactions a second leave little room on two cores: what each process uses is in the row.
#include <fmt/format.h>

#include <atomic>
#include <pqxx/pqxx>

#include "tests/bench/api_load.h"
#include "tests/bench/backlog.h"
#include "tests/bench/shared.h"
#include "tests/bench/sql_load.h"
#include "tests/support/delivery.h"
#include "tests/support/engine_stubs.h"
#include "tests/support/world.h"

namespace {

using namespace headgate::bench;
using namespace headgate::testing;
using namespace std::chrono_literals;

constexpr double kSeconds = 10;
constexpr double kWarmUpSeconds = 2;
const std::vector<std::string> kTenants = {"l1", "l2", "l3", "l4"};

enum class Writer { kSql, kApi };

// What was written behind the warm-up, and what it cost whom.
struct Window {
  std::map<uint64_t, int64_t> committed_us;
  double reached = 0;  // transactions a second, by their commit times
  std::string cpu;
  bool missed = false;
};

// Processor time of everybody, as shares of a core between two readings.
class CpuReading {
 public:
  explicit CpuReading(World& world) : world_(world) {}

  std::string since_construction(double load_share) {
    const double seconds = seconds_since(begin_);
    const auto percent = [&](double now, double before) { return 100 * (now - before) / seconds; };
    return fmt::format("% of a core: PostgreSQL {:.0f}, engine {:.0f}, relay {:.0f}, this harness {:.0f} (load {:.0f})",
                       percent(postgres(), postgres_), percent(engine(), engine_), percent(relay(), relay_),
                       percent(cpu_seconds(::getpid()), own_), 100 * load_share);
  }

 private:
  static double postgres() { return cpu_seconds_with_children(database().pid()); }
  double engine() { return cpu_seconds(world_.engine().pid()); }
  double relay() { return world_.relay().pid() > 0 ? cpu_seconds(world_.relay().pid()) : 0; }

  World& world_;
  const Clock::time_point begin_ = Clock::now();
  const double postgres_ = postgres(), engine_ = engine(), relay_ = relay(), own_ = cpu_seconds(::getpid());
};

LoadResult load(World& world, Writer writer, double rate, double seconds, const std::string& prefix) {
  const auto transactions = static_cast<size_t>(rate * seconds);
  if (writer == Writer::kSql) {
    return run_load(SqlLoad{.database = world.database_uri(),
                            .tenants = kTenants,
                            .rate = rate,
                            .transactions = transactions,
                            .prefix = prefix});
  }
  return run_load(ApiLoad{.engine = world.engine().address(),
                          .tenants = kTenants,
                          .rate = rate,
                          .transactions = transactions,
                          .prefix = prefix})
      .load;
}

uint64_t newest_xid(const std::string& uri) {
  pqxx::connection connection(uri);
  pqxx::nontransaction work(connection);
  return std::stoull(work.exec1("SELECT coalesce(max(id::text::bigint), 0)::text FROM transactions")[0].c_str());
}

Window write(World& world, Writer writer, double rate) {
  load(world, writer, rate, kWarmUpSeconds, "warm");
  const uint64_t behind = newest_xid(world.database_uri());
  CpuReading cpu(world);
  const LoadResult made = load(world, writer, rate, kSeconds, "d");
  Window window{.cpu = cpu.since_construction(made.cpu_share)};
  for (const auto& [xid, time] : commit_times(world.database_uri())) {
    if (xid > behind) window.committed_us.emplace(xid, time);
  }
  int64_t first = INT64_MAX, last = 0;
  for (const auto& [xid, time] : window.committed_us) {
    first = std::min(first, time);
    last = std::max(last, time);
  }
  window.reached = static_cast<double>(window.committed_us.size()) * 1e6 / static_cast<double>(last - first);
  window.missed = window.reached < rate * 0.98;
  return window;
}

void add_row(const std::string& what, double rate, Writer writer, const Window& window, const std::vector<double>& ms,
             const std::string& note) {
  const std::string by = writer == Writer::kApi ? ", written through the API" : "";
  const std::string reached = window.missed ? fmt::format("THE RATE WAS MISSED: only {:.0f}/s", window.reached)
                                            : fmt::format("{:.0f}/s reached", window.reached);
  table().add({fmt::format("commit to {} at {:.0f} transactions a second{}: p50 / p99", what, rate, by),
               milliseconds(percentile(ms, 0.5)) + " / " + milliseconds(percentile(ms, 0.99)), "10 ms p99 (budget)",
               ratio(percentile(ms, 0.99), 10),
               fmt::format("{}, {} events{}; {}", reached, ms.size(), note, window.cpu)});
}

std::unique_ptr<World> make_world(const std::set<std::string>& sinks) {
  static int counter = 0;
  return World::create({.sinks = sinks,
                        .engine_yaml = kManyStreams,
                        .database_uri = database().make("latency" + std::to_string(++counter)),
                        .subscribe = sinks});
}

void measure_sinks(const std::set<std::string>& sinks, double rate, Writer writer = Writer::kSql) {
  const auto world = make_world(sinks);
  if (world == nullptr) return;
  world->create_tenants(kTenants);
  world->relay().start();
  const Window window = write(*world, writer, rate);
  const Truth truth = read_truth(world->database_uri());
  size_t total = 0;
  for (const auto& [tenant, transactions] : truth) total += transactions.size();
  for (const auto& entry : world->subscribers()) {
    const auto& sink = entry.first;
    const auto& subscriber = entry.second;
    CHECK_MESSAGE(subscriber->wait_for(total, 60s), sink << ": " << subscriber->count() << " of " << total);
    CHECK(check_sink(truth, subscriber->received(), Repeats::kNone) == "");
    std::vector<double> ms;
    for (const Received& event : subscriber->received()) {
      const auto committed = window.committed_us.find(event.xid);
      if (committed == window.committed_us.end()) continue;  // of the warm-up
      ms.push_back(static_cast<double>(event.received_at_us - committed->second) / 1'000);
    }
    CHECK(ms.size() == window.committed_us.size());
    add_row(sink, rate, writer, window, ms,
            sinks.size() == 1 ? ", the relay's only sink, count and order verified"
                              : fmt::format(", {} sinks in one relay, count and order verified", sinks.size()));
  }
  table().save();
}

int64_t now_us() {
  return std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::system_clock::now().time_since_epoch())
      .count();
}

// Reads headgate.v1.Feed as a relay does, and notes when each transaction came.
class FeedReader {
 public:
  explicit FeedReader(EngineClient& client) : client_(client), thread_([this] { run(); }) {}
  ~FeedReader() { context_.TryCancel(); }

  bool wait_for(size_t count, std::chrono::milliseconds timeout) const {
    return wait_until([&] { return count_ >= count; }, timeout);
  }
  // Xid and time of arrival in order; once everything has come.
  const std::vector<std::pair<uint64_t, int64_t>>& arrivals() const { return arrivals_; }

 private:
  void run() {
    headgate::v1::SubscribeRequest request;
    request.set_all_tenants(true);
    request.set_default_start(headgate::v1::START_POLICY_EARLIEST);
    const auto stream = client_.stubs().feed->Subscribe(&context_, request);
    headgate::v1::FeedMessage message;
    while (stream->Read(&message)) {
      const int64_t now = now_us();
      for (const auto& transaction : message.batch().transactions()) arrivals_.emplace_back(transaction.xid(), now);
      count_ = arrivals_.size();
    }
  }

  EngineClient& client_;
  grpc::ClientContext context_;
  std::vector<std::pair<uint64_t, int64_t>> arrivals_;
  std::atomic<size_t> count_ = 0;
  std::jthread thread_;
};

// The engine's part of the way alone.
void measure_feed(double rate, Writer writer) {
  const auto world = make_world({});
  if (world == nullptr) return;
  world->create_tenants(kTenants);
  FeedReader reader(world->client());
  const Window window = write(*world, writer, rate);
  const size_t total = commit_times(world->database_uri()).size();
  CHECK(reader.wait_for(total, 60s));
  CHECK(reader.arrivals().size() == total);
  CHECK(std::ranges::is_sorted(reader.arrivals(), std::ranges::less_equal{},
                               [](const auto& arrival) { return arrival.first; }));
  std::vector<double> ms;
  for (const auto& [xid, time] : reader.arrivals()) {
    const auto committed = window.committed_us.find(xid);
    if (committed != window.committed_us.end()) {
      ms.push_back(static_cast<double>(time - committed->second) / 1'000);
    }
  }
  add_row("a client of headgate.v1.Feed", rate, writer, window, ms, ", no relay, count and order verified");
  table().save();
}

}  // namespace

TEST_SUITE("bench/latency") {
  TEST_CASE("latency of the engine's feed") {
    measure_feed(500, Writer::kSql);
    measure_feed(2'000, Writer::kSql);
    measure_feed(500, Writer::kApi);
    measure_feed(2'000, Writer::kApi);
  }

  TEST_CASE("latency of each sink alone") {
    for (const double rate : {500.0, 2'000.0}) {
      for (const std::string& sink : kAllSinks) measure_sinks({sink}, rate);
    }
  }

  TEST_CASE("latency of all sinks together") {
    measure_sinks(kAllSinks, 500);
    measure_sinks(kAllSinks, 2'000);
    measure_sinks(kAllSinks, 500, Writer::kApi);
  }
}
