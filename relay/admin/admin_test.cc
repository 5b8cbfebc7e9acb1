#define CPPHTTPLIB_OPENSSL_SUPPORT
#define CPPHTTPLIB_ZLIB_SUPPORT
#define CPPHTTPLIB_BROTLI_SUPPORT
#include <httplib.h>

#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "relay/admin/pages.h"
#include "tests/support/process.h"
#include "tests/support/test_main.h"

namespace headgate::relay {

namespace {

struct FakeView : RelayView, RelayControl {
  RelayReport relay;
  std::vector<TenantStatus> lines;
  mutable TenantQuery asked;
  mutable int reports = 0;
  Status answer;  // of resume()
  std::vector<std::string> resumed;

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
  RelayReport report() const override {
    ++reports;
    return relay;
  }
  std::vector<TenantStatus> tenants(const TenantQuery& query) const override {
    asked = query;
    std::vector<TenantStatus> found;
    for (const TenantStatus& line : lines) {
      if (query.tenant.empty() || line.tenant == query.tenant) found.push_back(line);
    }
    return found;
  }
  Status resume(const ResumeOrder& order) override {
    const char* const policy = !order.on_gap ? "" : *order.on_gap == GapPolicy::kSnapshot ? ":snapshot" : ":from_head";
    resumed.push_back(order.tenant + "@" + order.sink + policy);
    return answer;
  }
};

HttpRequest order(const std::string& tenant, std::map<std::string, std::string> query = {}) {
  HttpRequest request;
  request.parts = {tenant};
  request.query = std::move(query);
  return request;
}

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
  FakeView view;
  view.relay.sinks[0].stopped_reasons = {{"POISON", 1}};
  add_gauges(metrics, view, {"k"});
  const std::string golden = headgate::testing::read_file(HEADGATE_METRICS_GOLDEN);
  const std::string names = names_of(metrics.exposition());
  CHECK_MESSAGE(names == golden, "write this to relay/admin/metrics.golden when the change is meant:\n" << names);
}

TEST_CASE("metrics: one scrape makes one report, and stopped tenants are counted by reason") {
  Metrics metrics;
  FakeView view;
  view.relay.sinks[0].stopped_reasons = {{"POISON", 2}, {"HISTORY_GONE", 1}};
  add_gauges(metrics, view, {"k", "not-there-yet"});
  view.reports = 0;
  const std::string text = metrics.exposition();
  CHECK(view.reports == 1);
  for (const char* line : {"headgate_relay_stopped_tenants{reason=\"POISON\",sink=\"k\"} 2",
                           "headgate_relay_stopped_tenants{reason=\"HISTORY_GONE\",sink=\"k\"} 1",
                           "headgate_relay_sink_state{sink=\"k\",state=\"live\"} 1",
                           "headgate_relay_sink_state{sink=\"not-there-yet\",state=\"starting\"} 1"}) {
    CHECK_MESSAGE(text.find(line) != std::string::npos, text);
  }
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
  auto page = nlohmann::json::parse(status_page(view, {}).body);
  CHECK(page["status"] == "healthy");
  CHECK(page["upstream"]["state"] == "open");
  CHECK(page["sinks"][0]["state"] == "live");
  CHECK(page["sinks"][0]["state_seconds"] == 1.0);
  CHECK_FALSE(page.contains("tenants"));
  page = nlohmann::json::parse(status_page(view, {{"after", "a"}, {"limit", "1000"}, {"stopped", "1"}}).body);
  CHECK(page["tenants"][0]["xid"] == 7);
  CHECK(page["tenants"][0]["state"] == "POISON");
  CHECK(view.asked.after == "a");
  CHECK(view.asked.limit == 1000);
  CHECK(view.asked.stopped_only);
}

TEST_CASE("status: a query that cannot be read is refused with what would do") {
  const FakeView view;
  for (const char* limit : {"abc", "", "0", "-1", "1001", "5x", "99999999999999999999999"}) {
    const HttpResponse page = status_page(view, {{"limit", limit}});
    CHECK(page.status == 400);
    CHECK(page.body == fmt::format("limit is '{}'; it must be a number from 1 to 1000\n", limit));
  }
  CHECK(status_page(view, {{"stopped", "yes"}}).status == 400);
  CHECK(status_page(view, {{"stopped", "0"}}).status == 200);
}

TEST_CASE("tenants: a page of one tenant tells its place in each sink, and 404 when nobody knows it") {
  FakeView view;
  view.lines.push_back({.tenant = "t1", .sink = "k", .state = "ok", .snap_token = "tok", .xid = 7, .sequence = 3});
  view.lines.push_back({.tenant = "t1", .sink = "r", .state = "POISON", .sequence = 2});
  const auto page = nlohmann::json::parse(tenant_page(view, "t1").body);
  CHECK(page["sinks"].size() == 2);
  CHECK(page["sinks"][0]["sequence"] == 3);
  CHECK(page["sinks"][0]["snap_token"] == "tok");
  CHECK(page["sinks"][1]["state"] == "POISON");
  CHECK(tenant_page(view, "t2").status == 404);
}

TEST_CASE("readyz: verbose tells each part, and stopped tenants leave it at 200") {
  FakeView view;
  view.relay.epoch = 42;
  view.relay.sinks[0].stopped_tenants = 1;
  view.lines.push_back({.tenant = "t1", .sink = "k", .state = "POISON"});
  const HttpResponse page = ready_page(view, {true, ""}, true);
  CHECK(page.status == 200);
  for (const char* text : {"ready\n", "token store: owned, epoch 42\n", "source: open", "sink k: live\n",
                           "stopped tenants: 1: t1 in k (POISON)\n", "/tenants/{tenant}/resume"}) {
    CHECK_MESSAGE(page.body.find(text) != std::string::npos, page.body);
  }
  CHECK(view.asked.stopped_only);
  view.relay.sinks[0].max_event_bytes = 1000;
  view.relay.source_event_bytes = 4000;
  CHECK(ready_page(view, {true, ""}, true)
            .body.find("live; takes events of 1000 bytes at most, the source may send 4000") != std::string::npos);
  CHECK(ready_page(view, {false, "no source"}, true).status == 503);
  CHECK(ready_page(view, {true, ""}, false).body == "ok\n");
}

TEST_CASE("resume: asks the relay, and its answer becomes a status") {
  FakeView view;
  const AdminAccess local{.loopback = true};
  CHECK(resume_page(view, local, order("t1")).status == 202);
  CHECK(resume_page(view, local, order("t1", {{"sink", "k"}})).status == 202);
  CHECK(view.resumed == std::vector<std::string>{"t1@", "t1@k"});
  const std::vector<std::pair<StatusCode, int>> answers = {{StatusCode::kNotFound, 404},
                                                           {StatusCode::kUnavailable, 503},
                                                           {StatusCode::kUnimplemented, 501},
                                                           {StatusCode::kInternal, 500}};
  for (const auto& [code, status] : answers) {
    view.answer = make_status(code, "why");
    const HttpResponse page = resume_page(view, local, order("t1"));
    CHECK(page.status == status);
    CHECK(page.body == "why\n");
  }
}

TEST_CASE("resume: takes a decision about a history that is gone, and refuses what is none") {
  FakeView view;
  const AdminAccess local{.loopback = true};
  CHECK(resume_page(view, local, order("t1", {{"on_gap", "snapshot"}})).status == 202);
  CHECK(resume_page(view, local, order("t1", {{"sink", "k"}, {"on_gap", "from_head"}})).status == 202);
  CHECK(view.resumed == std::vector<std::string>{"t1@:snapshot", "t1@k:from_head"});
  for (const char* word : {"fail", "earliest", ""}) {
    const HttpResponse page = resume_page(view, local, order("t1", {{"on_gap", word}}));
    CHECK(page.status == 400);
    CHECK(page.body.find("from_head or snapshot") != std::string::npos);
  }
  CHECK(view.resumed.size() == 2);
}

TEST_CASE("resume: needs the token, or a loopback address without one") {
  FakeView view;
  HttpRequest asked = order("t1");
  CHECK(resume_page(view, {.loopback = false}, asked).status == 403);
  CHECK(resume_page(view, {.token = "hush", .loopback = true}, asked).status == 401);
  for (const char* wrong : {"hush", "Bearer hus", "Bearer hushh", "Bearer ", "Basic hush"}) {
    asked.authorization = wrong;
    const HttpResponse page = resume_page(view, {.token = "hush"}, asked);
    CHECK(page.status == 401);
    CHECK(page.headers.at("WWW-Authenticate") == "Bearer");
    CHECK(page.body.find("hush") == std::string::npos);
  }
  CHECK(view.resumed.empty());
  asked.authorization = "bearer hush";
  CHECK(resume_page(view, {.token = "hush"}, asked).status == 202);
  asked.authorization.clear();
  asked.origin = "https://elsewhere.example";
  CHECK(resume_page(view, {.loopback = true}, asked).status == 403);
  for (const char* address : {"127.0.0.1", "127.8.8.8", "::1", "localhost"}) CHECK(is_loopback(address));
  for (const char* address : {"0.0.0.0", "::", "10.0.0.1", "", "localhost.example"}) CHECK_FALSE(is_loopback(address));
}

TEST_CASE("pages: are served, and / lists every one of them") {
  FakeView view;
  Metrics metrics;
  ManualClock clock;
  Readiness readiness(clock, Duration(10'000));
  HttpServer server({.address = "127.0.0.1"});
  add_gauges(metrics, view, {"k"});
  add_pages(server, view, view, metrics, readiness, [] { return AdminAccess{.loopback = true}; });
  REQUIRE(server.start().ok());
  httplib::Client client("127.0.0.1", server.port());
  const std::string index = client.Get("/")->body;
  for (const char* path : {"/livez", "/startupz", "/readyz?verbose", "/status", "/metrics"}) {
    CHECK(client.Get(path)->status == 200);
    CHECK(index.find(std::string(path).substr(0, 7)) != std::string::npos);
  }
  CHECK(client.Get("/tenants/t1")->status == 404);
  CHECK(client.Get("/tenants/t1/resume")->status == 405);
  CHECK(client.Post("/tenants/t1/resume?sink=k")->status == 202);
  CHECK(view.resumed == std::vector<std::string>{"t1@k"});
  CHECK(index.find("/tenants/{tenant}/resume") != std::string::npos);
}

TEST_CASE("status: anything that stands still makes it degraded") {
  FakeView view;
  SUBCASE("a sink") { view.relay.sinks[0].state = SinkState::kRetrying; }
  SUBCASE("a tenant in a sink") { view.relay.sinks[0].stopped_tenants = 1; }
  SUBCASE("the source") { view.relay.source->state = SessionStatus::State::kWaiting; }
  SUBCASE("a tenant at the source") { view.relay.source->failed_tenants = 1; }
  CHECK(nlohmann::json::parse(status_page(view, {}).body)["status"] == "degraded");
}

TEST_SUITE_END();

}  // namespace headgate::relay
