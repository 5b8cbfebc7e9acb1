// Several engine pods on one database, each with a feed of its own: streams that hop between them carry the same
// messages (F2), a pod that goes says goodbye in good order (F8), and a relay comes back within its budget.
#include <atomic>
#include <deque>
#include <random>

#include "tests/robustness/fleet.h"
#include "tests/robustness/schedule.h"
#include "tests/support/engine_session.h"
#include "tests/support/load.h"

namespace {

using namespace headgate::testing;
using namespace std::chrono_literals;

// Reads one tenant, a few messages at a time, each time from another pod than before.
class Hopper {
 public:
  Hopper(std::vector<EngineClient*> pods, std::string tenant, uint64_t seed)
      : pods_(std::move(pods)), tenant_(std::move(tenant)), random_(seed), thread_([this](std::stop_token stop) {
          while (!stop.stop_requested()) hop();
        }) {}

  // What all its streams carried, one behind the other. A transaction of which a stream saw only a part comes again as
  // a whole, so the parts seen before do not count.
  std::vector<SeenMessage> history() const {
    std::lock_guard lock(mutex_);
    return history_;
  }
  uint64_t last() const {
    std::lock_guard lock(mutex_);
    return history_.empty() ? 0 : history_.back().xid;
  }
  size_t hops() const { return hops_; }

 private:
  void hop() {
    EngineClient& pod = *pods_[hops_++ % pods_.size()];
    const size_t wanted = 1 + random_() % 60;
    WatchReader reader(pod, tenant_, token_);
    // Whoever finds only a part of a large transaction stays longer the next time.
    reader.wait_for(wanted, patience_);
    patience_ = std::min<std::chrono::milliseconds>(patience_ * 2, 10s);
    auto messages = reader.messages();
    if (messages.size() > wanted) messages.resize(wanted);
    std::vector<SeenMessage> found = seen(tenant_, messages);
    while (!found.empty() && found.back().more_parts) {
      found.pop_back();
      messages.pop_back();
    }
    if (messages.empty()) return;
    patience_ = kPatience;
    token_ = messages.back().snap_token();
    std::lock_guard lock(mutex_);
    std::ranges::move(found, std::back_inserter(history_));
  }

  const std::vector<EngineClient*> pods_;
  const std::string tenant_;
  static constexpr std::chrono::milliseconds kPatience{100};
  std::string token_ = kBeginning;
  std::chrono::milliseconds patience_ = kPatience;
  std::mt19937_64 random_;
  std::atomic<size_t> hops_ = 0;
  mutable std::mutex mutex_;
  std::vector<SeenMessage> history_;
  std::jthread thread_;
};

// Foreign transactions that come and go, and engine transactions that are given up, while others write.
void disturb(const std::string& uri, uint64_t seed, std::stop_token stop) {
  std::mt19937_64 random(seed);
  EngineSession foreign(uri), aborted(uri);
  while (!stop.stop_requested()) {
    foreign.begin_foreign();
    aborted.begin("p1");
    aborted.add("aborted" + std::to_string(random()));
    aborted.run("SELECT pg_sleep(" + std::to_string(static_cast<double>(random() % 100) / 1000) + ")");
    aborted.rollback();
    if (random() % 3 == 0) foreign.run("SELECT pg_sleep(0.3)");
    foreign.rollback();
  }
}

// How many streams clients have opened at an engine, those included that it refused; asked every 50 ms from the
// beginning. Counts of an engine that was started anew are added up.
class OpenCounter {
 public:
  explicit OpenCounter(const EngineProgram& program)
      : program_(program), thread_([this](std::stop_token stop) {
          while (!stop.stop_requested()) {
            look();
            wait_until([&] { return stop.stop_requested(); }, 50ms);
          }
        }) {}

  // The most in any stretch of `kStretch`, as opens a second. A look takes a while on a busy machine; the stretch is
  // measured from before the first to behind the last of its looks.
  double most_in_a_second() const {
    std::lock_guard lock(mutex_);
    return most_;
  }
  double total() const {
    std::lock_guard lock(mutex_);
    return total_;
  }

 private:
  using Time = std::chrono::steady_clock::time_point;

  void look() {
    const Time before = std::chrono::steady_clock::now();
    const double opened = metric_of(program_, "headgate_engine_watch_opened_total");
    const double refused = metric_of(program_, "headgate_engine_watch_refused_total");
    const Time after = std::chrono::steady_clock::now();
    std::lock_guard lock(mutex_);
    if (opened < 0 || refused < 0) return;
    const double now = opened + refused;
    total_ += now >= seen_ ? now - seen_ : now;
    seen_ = now;
    looks_.emplace_back(before, total_);
    while (looks_.size() > 1 && after - looks_[1].first >= kStretch) looks_.pop_front();
    const std::chrono::duration<double> stretch =
        std::max<std::chrono::duration<double>>(kStretch, after - looks_.front().first);
    most_ = std::max(most_, (total_ - looks_.front().second) / stretch.count());
  }

  static constexpr std::chrono::seconds kStretch{3};
  const EngineProgram& program_;
  mutable std::mutex mutex_;
  std::deque<std::pair<Time, double>> looks_;
  double seen_ = 0, total_ = 0, most_ = 0;
  std::jthread thread_;
};

}  // namespace

TEST_SUITE("robustness/engine_pods") {
  TEST_CASE("hopping: streams that change the pod with every token carry the same messages as those that stay") {
    HG_FLEET(fleet);
    const auto time = attack_time(4s);
    const uint64_t seed = attack_seed();
    // Small rings, so that streams read from history as often as from the ring.
    const EngineValues values = {{"feed.ring_bytes", "1048576"}, {"feed.ring_age", "2s"}};
    Pod& one = fleet->start(values);
    Pod& two = fleet->start(values);
    const std::vector<std::string> tenants = {"p1", "p2"};
    for (const std::string& tenant : tenants) one.client->create_tenant(tenant, kSchema);
    std::map<std::string, std::vector<std::unique_ptr<WatchReader>>> staying;
    std::map<std::string, std::vector<std::unique_ptr<Hopper>>> hopping;
    for (size_t i = 0; i < tenants.size(); ++i) {
      for (Pod* pod : {&one, &two}) {
        staying[tenants[i]].push_back(std::make_unique<WatchReader>(*pod->client, tenants[i], kBeginning));
      }
      const std::vector<EngineClient*> order = {one.client.get(), two.client.get()};
      hopping[tenants[i]].push_back(std::make_unique<Hopper>(order, tenants[i], seed + i));
      hopping[tenants[i]].push_back(
          std::make_unique<Hopper>(std::vector<EngineClient*>{order[1], order[0]}, tenants[i], seed + 10 + i));
    }
    {
      const std::jthread others([&](std::stop_token stop) { disturb(fleet->uri(), seed, stop); });
      Load load({.engine = one.program.address(),
                 .database = fleet->uri(),
                 .tenants = tenants,
                 .api_writers = 2,
                 .sql_writers = 2,
                 .transactions = SIZE_MAX,
                 .rate = 250});
      const auto end = std::chrono::steady_clock::now() + time;
      EngineSession bulk(fleet->uri());
      for (int i = 0; std::chrono::steady_clock::now() < end; ++i) {
        // Now and then one that travels in parts.
        bulk.begin("p1");
        bulk.add_many(i % 8 == 0 ? 20'000 : 10, "bulk" + std::to_string(i) + "_");
        bulk.commit();
        load.wait_for(load.committed() + 100, 1s);
      }
      load.stop();
      CHECK(load.faults() == std::vector<std::string>{});
    }
    const Truth truth = read_truth(fleet->uri());
    for (const std::string& tenant : tenants) {
      std::vector<const WatchReader*> readers;
      for (const auto& reader : staying[tenant]) readers.push_back(reader.get());
      CHECK(check_readers(truth, readers, 60s) == "");
      const auto whole = seen(tenant, staying[tenant][0]->messages());
      for (const auto& hopper : hopping[tenant]) {
        REQUIRE(wait_until([&] { return hopper->last() >= truth.at(tenant).back().xid; }, 60s));
        const auto history = hopper->history();
        CHECK(check_complete(rows_of(truth), history, tenant, 0) == "");
        CHECK(check_atomic(rows_of(truth), history) == "");
        CHECK(check_same(whole, history) == "");
        CHECK(hopper->hops() > 10);
      }
    }
    const size_t total = truth.at("p1").size() + truth.at("p2").size();
    MESSAGE(total << " transactions, " << hopping["p1"][0]->hops() << " hops of one reader");
  }

  TEST_CASE("goodbye: a pod that is told to end spreads its streams, and the next one goes on exactly there") {
    HG_FLEET(fleet);
    Pod& leaving = fleet->start({{"server.drain_window", "2s"}});
    Pod& staying = fleet->start();
    leaving.client->create_tenant("p1", kSchema);
    std::vector<std::unique_ptr<WatchReader>> readers;
    for (int i = 0; i < 24; ++i) {
      readers.push_back(std::make_unique<WatchReader>(*leaving.client, "p1", kBeginning));
    }
    for (const auto& reader : readers) REQUIRE(reader->wait_open(20s));
    EngineSession writer(fleet->uri());
    const auto begin = std::chrono::steady_clock::now();
    ::kill(leaving.program.pid(), SIGTERM);
    // Nobody is left out as long as its stream stands.
    size_t written = 0;
    while (std::chrono::steady_clock::now() - begin < 2s) {
      writer.write("p1", "w" + std::to_string(written++));
      readers.back()->wait_for(written, 10ms);
    }
    std::vector<StreamEnd> ends;
    for (const auto& reader : readers) ends.push_back(end_of(*reader, begin, 20s));
    CHECK(check_goodbyes(ends, 2'000) == "");
    CHECK(wait_until([&] { return !leaving.program.running(); }, 20s));

    const Truth truth = read_truth(fleet->uri());
    for (const auto& reader : readers) {
      std::vector<base::v1::DataChanges> history = reader->messages();
      const std::string token = history.empty() ? kBeginning : history.back().snap_token();
      const WatchReader next(*staying.client, "p1", token);
      REQUIRE(wait_for_all(next, truth, 20s));
      for (auto& message : next.messages()) history.push_back(std::move(message));
      CHECK(check_stream(truth, "p1", kBeginning, history) == "");
    }
  }

  TEST_CASE("reconnects: a relay with a stream for each tenant comes back within its budget") {
    HG_FLEET(fleet);
    const bool brief = attack_time(0s) == 0s;
    const int tenants = brief ? 800 : 10'000;
    const double rate = brief ? 130 : 500, burst = 50;
    Pod& pod = fleet->start({{"server.drain_window", "2s"}, {"watch.streams_max", "100000"}});
    fleet->add_tenants("tenant-", tenants);
    RelayProgram relay(
        fleet->folder(), "relay",
        "upstream:\n  kind: watch\n  address: " + pod.program.address() +
            "\n  connections_per_second: " + std::to_string(rate) + "\n  connections_burst: " + std::to_string(burst) +
            "\n  stream_backoff:\n    max: 5s\ntokens:\n  kind: memory\nsinks:\n  - name: file\n    kind: "
            "file\n    path: " +
            fleet->folder() + "/events\n");
    const OpenCounter counter(pod.program);
    relay.start();
    const auto all_open = [&] { return metric_of(pod.program, "headgate_engine_watch_streams") >= tenants; };
    REQUIRE_MESSAGE(wait_until(all_open, 120s), metric_of(pod.program, "headgate_engine_watch_streams"));
    const double first = counter.total();
    CHECK(pod.program.stop() == 0);
    const auto away = std::chrono::steady_clock::now();
    pod.program.start();
    REQUIRE_MESSAGE(wait_until(all_open, 180s), metric_of(pod.program, "headgate_engine_watch_streams"));
    const auto took = std::chrono::duration<double>(std::chrono::steady_clock::now() - away).count();
    MESSAGE(tenants << " streams: at most " << counter.most_in_a_second() << " opened a second, of " << rate
                    << " allowed, " << counter.total() << " in all, back after " << took << " s");
    // The budget, what had been saved up for a burst, and what a busy engine takes late; far less than all at once.
    CHECK(counter.most_in_a_second() <= rate * 1.3 + burst / 3);
    // Hardly anybody was opened in vain.
    CHECK(first <= tenants * 1.05);
    CHECK(counter.total() - first <= tenants * 2);
  }
}
