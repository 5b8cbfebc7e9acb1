// Garbage collection against everybody who still reads: live streams, slow ones, states at old tokens, relays that were
// away, a pod that was frozen. Whoever was promised history gets it whole; everybody else is told.
#include <nlohmann/json.hpp>
#include <random>

#include "base/snap_token.h"
#include "tests/robustness/recorder.h"
#include "tests/robustness/schedule.h"
#include "tests/support/ahead.h"

namespace {

using namespace headgate::testing;
using namespace std::chrono_literals;

const EngineValues kCollect = {
    {"gc.enabled", "true"}, {"gc.interval", "1s"}, {"gc.window", "1m"}, {"gc.batch_rows", "50"}};
// Does not collect itself, but tells the others what its streams still need.
const EngineValues kOnlyHolds = {{"gc.interval", "1s"}};

// Small states through the API, each with its token.
class States {
 public:
  States(EngineClient& client, std::string tenant) : client_(client), tenant_(std::move(tenant)) {}

  void step() {
    const std::string doc = "s" + std::to_string(states_.size());
    WriteAnswer answer = client_.write(tenant_, {tuple_of("doc:" + doc + "#owner@user:a")});
    REQUIRE_MESSAGE(answer.status.ok(), answer.status.error_message());
    now_.insert("doc:" + doc + "#owner@user:a");
    states_.emplace_back(answer.token, std::vector<std::string>(now_.begin(), now_.end()));
    if (now_.size() < 5) return;
    const std::string oldest = "s" + std::to_string(states_.size() - 5);
    answer = client_.remove(tenant_, "doc", oldest);
    REQUIRE_MESSAGE(answer.status.ok(), answer.status.error_message());
    now_.erase("doc:" + oldest + "#owner@user:a");
    states_.emplace_back(answer.token, std::vector<std::string>(now_.begin(), now_.end()));
  }
  // Reads at one of the tokens: the exact state, or a refusal. "" or what came instead.
  std::string look(EngineClient& client, size_t at) {
    const auto& [token, expected] = states_[at % states_.size()];
    try {
      if (client.tuples_at(tenant_, token) != expected) return "another state at a token of " + std::to_string(at);
      ++answered_;
    } catch (const std::exception& error) {
      if (std::string(error.what()).find(": 11 ") == std::string::npos) return error.what();
      ++refused_;
    }
    return "";
  }
  size_t answered() const { return answered_; }
  size_t refused() const { return refused_; }

 private:
  EngineClient& client_;
  const std::string tenant_;
  std::set<std::string> now_;
  std::vector<std::pair<std::string, std::vector<std::string>>> states_;
  size_t answered_ = 0, refused_ = 0;
};

std::string relay_yaml(const std::string& engine, const std::string& folder, const std::string& name,
                       const std::string& on_gap) {
  return "upstream:\n  address: " + engine + "\ntenants:\n  start: earliest\n  on_gap: " + on_gap +
         "\ntokens:\n  kind: sqlite\n  sqlite:\n    path: " + folder + "/" + name +
         ".db\nsinks:\n  - name: file\n    kind: file\n    path: " + folder + "/" + name + ".jsonl\n";
}

std::vector<Received> changes_of(const Subscriber& sink, const std::string& tenant) {
  std::vector<Received> found;
  for (const Received& event : sink.received()) {
    if (event.tenant == tenant && event.is_changes()) found.push_back(event);
  }
  return found;
}

// "<tenant> <reason>" of the last GAP.
std::string gap_of(const Subscriber& sink) {
  std::string gap;
  for (const Received& event : sink.received()) {
    if (event.is_gap()) gap = event.tenant + " " + event.reason;
  }
  return gap;
}

}  // namespace

TEST_SUITE("robustness/gc") {
  TEST_CASE("live: streams at the head and slow ones lose nothing, states at old tokens are exact or refused") {
    HG_FLEET(fleet);
    const auto time = attack_time(5s);
    std::mt19937_64 random(attack_seed());
    Pod& collecting = fleet->start(kCollect);
    // All that is older than a second is old enough to be collected.
    const Ahead ahead(fleet->uri(), "59 seconds");
    EngineValues small = kOnlyHolds;
    small["feed.ring_bytes"] = "1048576";
    small["feed.ring_age"] = "1s";
    small["feed.catch_up_bytes"] = "65536";
    small["database.watch_buffer_size"] = "1";
    small["watch.buffer_bytes"] = "65536";
    Pod& serving = fleet->start(small);
    for (const char* tenant : {"live", "state"}) serving.client->create_tenant(tenant, kSchema);
    Recorder recorder(fleet->uri(), "live");
    States states(*collecting.client, "state");
    const WatchReader near(*collecting.client, "live", kBeginning), far(*serving.client, "live", kBeginning);
    SlowReader slow(*serving.client, "live", kBeginning, 25ms);
    REQUIRE(near.wait_open(10s));
    REQUIRE(far.wait_open(10s));
    std::vector<std::string> faults;
    const auto end = std::chrono::steady_clock::now() + time;
    while (std::chrono::steady_clock::now() < end || states.refused() == 0) {
      recorder.write(150);
      states.step();
      for (Pod* pod : {&collecting, &serving}) {
        const std::string fault = states.look(*pod->client, random());
        if (!fault.empty()) faults.push_back(fault);
      }
      REQUIRE(std::chrono::steady_clock::now() < end + 30s);
    }
    slow.hurry();
    for (const WatchReader* reader : {&near, &far}) {
      REQUIRE(wait_until([&] { return carried(*reader, recorder.last()); }, 20s));
      CHECK(recorder.check(reader->messages()) == "");
    }
    REQUIRE(wait_until([&] { return slow.messages().size() >= recorder.rows().size(); }, 60s));
    CHECK(recorder.check(slow.messages()) == "");
    CHECK(faults == std::vector<std::string>{});
    // The collector was really at work: nothing but the newest is left when nobody reads any more.
    CHECK(wait_until([&] { return recorder.left() < 5; }, 30s));
    MESSAGE(recorder.rows().size() << " transactions, " << states.answered() << " states read, " << states.refused()
                                   << " refused");
    std::vector<StreamEnd> ends;
    const auto& rows = recorder.rows();
    for (const std::string& token :
         {kBeginning, headgate::encode_legacy_token(rows[0].xid),
          headgate::encode_legacy_token(rows[rows.size() / 2].xid), headgate::encode_position_token(rows[3].xid)}) {
      for (Pod* pod : {&collecting, &serving}) {
        const auto since = std::chrono::steady_clock::now();
        const WatchReader late(*pod->client, "live", token);
        ends.push_back(end_of(late, since, 10s));
      }
    }
    CHECK(check_refused(ends, {"HISTORY_GONE"}, 3'000) == "");
  }

  TEST_CASE("relays: away for less than the window they miss nothing, for longer they say so as they were told") {
    HG_FLEET(fleet);
    Pod& pod = fleet->start(kCollect);
    pod.client->create_tenant("acme", kSchema);
    pod.client->create_tenant("quiet", kSchema);
    Recorder recorder(fleet->uri(), "acme"), quiet(fleet->uri(), "quiet");
    const std::string& folder = fleet->folder();
    RelayProgram goes_on(folder, "goes_on", relay_yaml(pod.program.address(), folder, "goes_on", "from_head"));
    RelayProgram stops(folder, "stops", relay_yaml(pod.program.address(), folder, "stops", "fail"));
    const auto jumping = subscribe_file(folder + "/goes_on.jsonl"), failing = subscribe_file(folder + "/stops.jsonl");
    goes_on.start();
    stops.start();
    quiet.write(1);
    for (int i = 0; i < 5; ++i) recorder.write(2);
    REQUIRE(jumping->wait_for(6, 20s));
    REQUIRE(failing->wait_for(6, 20s));
    CHECK(goes_on.stop() == 0);
    CHECK(stops.stop() == 0);

    // Within the window.
    for (int i = 0; i < 5; ++i) recorder.write(2);
    goes_on.start();
    stops.start();
    for (const Subscriber* sink : {jumping.get(), failing.get()}) {
      REQUIRE(sink->wait_for(11, 20s));
      CHECK(check_complete(recorder.rows(), seen("acme", sink->received()), "acme", 0) == "");
    }
    CHECK(goes_on.stop() == 0);
    CHECK(stops.stop() == 0);

    // Beyond it.
    const uint64_t known = recorder.last();
    for (int i = 0; i < 5; ++i) recorder.write(2);
    {
      const Ahead ahead(fleet->uri(), "1 hour");
      REQUIRE(wait_until([&] { return recorder.left() == 1; }, 30s));
    }
    const uint64_t collected = recorder.last();
    goes_on.start();
    stops.start();
    REQUIRE(wait_until([&] { return !gap_of(*jumping).empty(); }, 30s));
    CHECK(gap_of(*jumping) == "acme HISTORY_GONE");
    REQUIRE(wait_until([&] { return metric_of(stops, "headgate_relay_source_failed_tenants") == 1; }, 30s));
    recorder.write(2);
    quiet.write(1);
    const auto has = [&](const Subscriber& sink, const std::string& tenant, uint64_t xid) {
      const auto events = changes_of(sink, tenant);
      return !events.empty() && events.back().xid == xid;
    };
    CHECK(wait_until([&] { return has(*jumping, "acme", recorder.last()); }, 20s));
    for (const Subscriber* sink : {jumping.get(), failing.get()}) {
      CHECK(wait_until([&] { return has(*sink, "quiet", quiet.last()); }, 20s));
    }
    // Not a single event of the tenant that stopped, and behind the gap exactly what came behind the head.
    CHECK(changes_of(*failing, "acme").back().xid == known);
    std::vector<Received> behind;
    for (const Received& event : changes_of(*jumping, "acme")) {
      if (event.xid > known) behind.push_back(event);
    }
    CHECK(check_complete(recorder.rows(), seen("acme", behind), "acme", collected) == "");
  }

  TEST_CASE("frozen: a pod that wakes up behind the collector ends its streams instead of leaving something out") {
    HG_FLEET(fleet);
    Pod& collecting = fleet->start(kCollect);
    Pod& frozen = fleet->start(kOnlyHolds);
    for (const char* tenant : {"acme", "quiet"}) collecting.client->create_tenant(tenant, kSchema);
    Recorder recorder(fleet->uri(), "acme"), quiet(fleet->uri(), "quiet");
    recorder.write(2);
    quiet.write(1);
    const WatchReader reader(*frozen.client, "acme", kBeginning), other(*frozen.client, "quiet", kBeginning);
    REQUIRE(wait_until([&] { return carried(reader, recorder.last()); }, 20s));
    REQUIRE(wait_until([&] { return carried(other, quiet.last()); }, 20s));
    frozen.program.pause();
    for (int i = 0; i < 5; ++i) recorder.write(2);
    {
      const Ahead ahead(fleet->uri(), "1 hour");
      // What the frozen pod holds runs out after four intervals.
      REQUIRE(wait_until([&] { return recorder.left() == 1; }, 60s));
    }
    const auto woken = std::chrono::steady_clock::now();
    frozen.program.resume();
    recorder.write(2);
    quiet.write(1);
    StreamEnd end = end_of(reader, woken, 20s);
    // What it carried before is right: a look that was on its way when the pod was frozen may have found more than the
    // first.
    const std::vector<SeenMessage> before = seen("acme", reader.messages());
    REQUIRE_FALSE(before.empty());
    CHECK(check_complete(recorder.rows(), before, "acme", 0, before.back().xid + 1) == "");
    end.messages = 0;
    CHECK(check_refused({end}, {"HISTORY_GONE"}, 15'000) == "");
    // A tenant of which nothing was collected is not concerned.
    REQUIRE(wait_until([&] { return carried(other, quiet.last()); }, 20s));
    CHECK(quiet.check(other.messages()) == "");
    const WatchReader again(*frozen.client, "acme", "");
    REQUIRE(again.wait_open(20s));
    recorder.write(2);
    CHECK(wait_until([&] { return carried(again, recorder.last()); }, 20s));
  }
}
