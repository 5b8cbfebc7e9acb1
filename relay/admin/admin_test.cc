#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "relay/admin/pages.h"
#include "tests/support/process.h"
#include "tests/support/test_main.h"

namespace headgate::relay {

namespace {

struct FakeView : RelayView {
  RelayReport relay;
  std::vector<TenantStatus> lines;
  mutable TenantQuery asked;

  FakeView() {
    relay.name = "eu";
    relay.version = "9.9";
    relay.phase = "running";
    relay.now_us = 10'000'000;
    relay.since_us = 4'000'000;
    relay.source.emplace();
    relay.source->state = SessionStatus::State::kOpen;
    relay.source->opened = 1;
    relay.sinks.push_back({.name = "k", .kind = "kafka", .state = SinkState::kLive, .since_us = 9'000'000});
  }
  RelayReport report() const override { return relay; }
  std::vector<TenantStatus> tenants(const TenantQuery& query) const override {
    asked = query;
    return lines;
  }
};

// Name, type and label keys of every metric, sorted.
std::string names_of(const std::string& exposition) {
  std::set<std::string> lines;
  std::istringstream in(exposition);
  std::map<std::string, std::string> types;
  for (std::string line; std::getline(in, line);) {
    std::istringstream words(line);
    std::string hash, what, name, type;
    words >> hash >> what >> name >> type;
    if (hash == "#" && what == "TYPE") types[name] = type;
    if (hash == "#") continue;
    std::string labels = line.substr(0, line.find(' '));
    const size_t open = labels.find('{');
    std::string metric = labels.substr(0, open);
    for (const char* end : {"_bucket", "_sum", "_count"}) {
      const size_t at = metric.rfind(end);
      if (at != std::string::npos && types.count(metric.substr(0, at)) != 0) metric = metric.substr(0, at);
    }
    std::string keys;
    for (size_t at = open; at != std::string::npos && at + 1 < labels.size(); at = labels.find("\",", at + 1)) {
      const size_t begin = labels[at] == '{' ? at + 1 : at + 2;
      const std::string key = labels.substr(begin, labels.find('=', begin) - begin);
      if (key != "le") keys += (keys.empty() ? "" : ",") + key;
    }
    lines.insert(metric + " " + types[metric] + " " + (keys.empty() ? "-" : keys));
  }
  std::string text;
  for (const std::string& line : lines) text += line + "\n";
  return text;
}

}  // namespace

TEST_SUITE_BEGIN("relay/admin");

TEST_CASE("metrics: names, types and labels are those of metrics.golden") {
  Metrics metrics;
  const SinkMetrics sink(metrics, "k");
  const SessionMetrics session(metrics, "main");
  const FakeView view;
  add_gauges(metrics, view, {"k"});
  const std::string golden = headgate::testing::read_file(HEADGATE_METRICS_GOLDEN);
  const std::string names = names_of(metrics.exposition());
  CHECK_MESSAGE(names == golden, "write this to relay/admin/metrics.golden when the change is meant:\n" << names);
}

TEST_CASE("readiness: needs the token store and a source that stood once") {
  ManualClock clock;
  Readiness readiness(clock, Duration(10'000));
  FakeView view;
  view.relay.phase = "waiting_for_token_store";
  view.relay.phase_error = "UNAVAILABLE: away";
  CHECK_FALSE(readiness.judge(view.relay).ready);
  CHECK(readiness.judge(view.relay).why == "waiting_for_token_store: UNAVAILABLE: away");
  view.relay.phase = "running";
  view.relay.source->opened = 0;
  CHECK_FALSE(readiness.judge(view.relay).ready);
  CHECK_FALSE(has_started(view.relay));
  view.relay.source->opened = 1;
  CHECK(readiness.judge(view.relay).ready);
}

TEST_CASE("readiness: neither a dead sink nor a source that went away matter") {
  ManualClock clock;
  Readiness readiness(clock, Duration(10'000));
  FakeView view;
  CHECK(readiness.judge(view.relay).ready);
  view.relay.sinks[0].state = SinkState::kRetrying;
  view.relay.source->state = SessionStatus::State::kWaiting;
  clock.advance(Duration(60'000));
  CHECK(readiness.judge(view.relay).ready);
}

TEST_CASE("readiness: a loss counts when it lasts, a planned end at once") {
  ManualClock clock;
  Readiness readiness(clock, Duration(10'000));
  FakeView view;
  CHECK(readiness.judge(view.relay).ready);
  view.relay.fenced = true;
  clock.advance(Duration(5'000));
  CHECK(readiness.judge(view.relay).ready);
  clock.advance(Duration(6'000));
  CHECK_FALSE(readiness.judge(view.relay).ready);
  view.relay.fenced = false;
  CHECK(readiness.judge(view.relay).ready);
  view.relay.phase = "stopping";
  CHECK_FALSE(readiness.judge(view.relay).ready);
}

TEST_CASE("status: tells the state of source and sinks, and tenants only when asked") {
  FakeView view;
  view.lines.push_back({.tenant = "t\xff", .sink = "k", .state = "POISON", .since_us = 9'000'000, .xid = 7});
  auto page = nlohmann::json::parse(status_json(view, {}));
  CHECK(page["status"] == "healthy");
  CHECK(page["upstream"]["state"] == "open");
  CHECK(page["sinks"][0]["state"] == "live");
  CHECK(page["sinks"][0]["state_seconds"] == 1.0);
  CHECK_FALSE(page.contains("tenants"));
  page = nlohmann::json::parse(status_json(view, {{"after", "a"}, {"limit", "5000"}, {"stopped", "1"}}));
  CHECK(page["tenants"][0]["xid"] == 7);
  CHECK(page["tenants"][0]["state"] == "POISON");
  CHECK(view.asked.after == "a");
  CHECK(view.asked.limit == 1000);
  CHECK(view.asked.stopped_only);
}

TEST_CASE("status: anything that stands still makes it degraded") {
  FakeView view;
  SUBCASE("a sink") { view.relay.sinks[0].state = SinkState::kRetrying; }
  SUBCASE("a tenant in a sink") { view.relay.sinks[0].stopped_tenants = 1; }
  SUBCASE("the source") { view.relay.source->state = SessionStatus::State::kWaiting; }
  SUBCASE("a tenant at the source") { view.relay.source->failed_tenants = 1; }
  CHECK(nlohmann::json::parse(status_json(view, {}))["status"] == "degraded");
}

TEST_SUITE_END();

}  // namespace headgate::relay
