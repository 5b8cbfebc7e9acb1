#include "base/log.h"
#include "relay/upstream/fake_engine.h"
#include "relay/upstream/retry_delay.h"
#include "relay/upstream/settings.h"
#include "tests/support/test_main.h"

namespace headgate::relay {

namespace {

using headgate::testing::wait_until;
using testing::FakeEngine;
using Texts = std::vector<std::string>;

struct Recorder : UpstreamListener {
  mutable Mutex mutex;
  Texts events;
  std::vector<EventPtr> raw;
  Texts failures;
  Texts removed;
  std::string opened;
  int opens = 0;
  bool ordered = false;
  uint64_t position = 0;
  std::shared_ptr<const std::vector<Identity>> recent;
  std::string progress_token;
  std::atomic<bool> hold{false};

  void on_opened(const std::string& incarnation, bool is_ordered) override {
    MutexLock lock(mutex);
    opened = incarnation;
    ordered = is_ordered;
    ++opens;
  }
  bool on_events(std::vector<EventPtr> batch) override {
    while (hold) std::this_thread::yield();
    MutexLock lock(mutex);
    for (const EventPtr& event : batch) {
      events.push_back(fmt::format("{}/{}/{}", event->tenant, event->xid, event->part));
      raw.push_back(event);
    }
    return true;
  }
  void on_progress(const Progress& mark) override {
    MutexLock lock(mutex);
    position = mark.position;
    recent = mark.recent;
    progress_token = mark.snap_token;
  }
  void on_tenant_failed(const TenantFailure& failure) override {
    MutexLock lock(mutex);
    failures.push_back(failure.tenant + " " + failure.reason);
  }
  void on_tenant_starts_later(const TenantFailure& failure) override {
    MutexLock lock(mutex);
    failures.push_back(fmt::format("{} later {} {}", failure.tenant, failure.reason, failure.head_token));
  }
  void on_tenant_removed(const std::string& tenant) override {
    MutexLock lock(mutex);
    removed.push_back(tenant);
  }
  template <typename T>
  T get(T Recorder::*member) const {
    MutexLock lock(mutex);
    return this->*member;
  }
  size_t count() const { return get(&Recorder::events).size(); }
};

// One run of an upstream against the fake engine, on a thread of its own.
struct Rig {
  FakeEngine engine;
  UpstreamSettings settings;
  TokenBucket budget{1000, 1000, system_clock()};
  Recorder seen;
  UpstreamRequest request;
  std::unique_ptr<Upstream> upstream;
  std::atomic<bool> ended{false};
  Status result;
  std::jthread thread;

  explicit Rig(UpstreamKind kind, FakeEngine::Options options = {}) : engine(options) {
    settings.kind = kind;
    settings.heartbeat_interval = Duration(50);
    settings.call_timeout = Duration(2000);
    settings.tenant_poll = Duration(20);
    settings.stream_backoff = {Duration(5), Duration(50)};
    settings.key = options.key;
  }
  void start() {
    settings.address = engine.address();
    upstream = make_upstream(settings, budget, system_clock()).value();
    thread = std::jthread([this](std::stop_token stop) {
      result = upstream->run(request, seen, stop);
      ended = true;
    });
  }
  Status finish() {
    REQUIRE(wait_until([&] { return ended.load(); }));
    return result;
  }
  Status stop() {
    thread.request_stop();
    return finish();
  }
  bool sees(size_t events) {
    return wait_until([&] { return seen.count() >= events; });
  }
  bool stands(int streams) {
    return wait_until([&] { return engine.standing() == streams; });
  }
  bool opens() {
    return wait_until([&] { return seen.get(&Recorder::opens) == 1; });
  }
};

// Tenant "a" is watched, and its event of xid 100 has arrived.
struct WatchRig : Rig {
  WatchRig() : Rig(UpstreamKind::kWatch) {
    engine.add_tenant("a");
    start();
    REQUIRE(stands(1));
    engine.write("a", 100);
    REQUIRE(sees(1));
  }
};

}  // namespace

TEST_SUITE_BEGIN("relay/upstream");

TEST_CASE("glob: stars and question marks select tenants") {
  CHECK(glob_matches("*", ""));
  CHECK(glob_matches("a*c", "abbc"));
  CHECK(glob_matches("a*b*c", "aXbYbZc"));
  CHECK_FALSE(glob_matches("a*c", "abcd"));
  CHECK(glob_matches("t?", "t1"));
  CHECK_FALSE(glob_matches("t?", "t"));
  CHECK(TenantSelection{{"a", "b"}}.exact());
  CHECK_FALSE(TenantSelection{{"a", "b*"}}.exact());
}

TEST_CASE("feed: events, positions and the state of the stream arrive") {
  Rig rig(UpstreamKind::kFeed);
  rig.engine.write("a", 100);
  rig.request.default_start = StartPolicy::kEarliest;
  rig.start();
  REQUIRE(rig.sees(1));
  rig.engine.write("b", 101);
  REQUIRE(rig.sees(2));
  REQUIRE(wait_until([&] { return rig.seen.get(&Recorder::position) == 102; }));
  CHECK(rig.seen.get(&Recorder::events) == Texts{"a/100/0", "b/101/0"});
  CHECK(rig.seen.get(&Recorder::opened) == "7001/1");
  CHECK(rig.seen.get(&Recorder::ordered));
  const EventPtr event = rig.seen.get(&Recorder::raw).front();
  CHECK(event->incarnation == "7001/1");
  CHECK(event->snap_token == encode_legacy_token(100));
  CHECK(event->started_at_us == 1'000'000);
  base::v1::DataChanges changes;
  CHECK(changes.ParseFromString(event->payload));
  CHECK(rig.stop().code() == StatusCode::kCancelled);
}

TEST_CASE("feed: the request carries positions, start and tenants") {
  Rig rig(UpstreamKind::kFeed);
  SUBCASE("patterns ask for all tenants") {
    rig.request.starts = {{"a", {encode_legacy_token(7), 7, 70, false}}};
    rig.request.progress = {9, "progress", "7001/1", {8, 80, "other"}};
    rig.request.starts["quiet"] = {"progress", 3, 30, true};
    rig.request.default_start = StartPolicy::kEarliest;
    rig.start();
    REQUIRE(rig.opens());
    const auto request = rig.engine.last_subscribe();
    CHECK(request.all_tenants());
    REQUIRE(request.positions_size() == 1);
    CHECK(request.positions(0).last().started_at_us() == 70);
    CHECK_FALSE(request.positions(0).quiet());
    CHECK(request.default_last().xid() == 8);
    CHECK(request.default_last().tenant_id() == "other");
    CHECK(request.default_start() == headgate::v1::START_POLICY_EARLIEST);
    CHECK(request.default_snap_token() == "progress");
    CHECK(request.incarnation() == "7001/1");
    CHECK(rig.stop().code() == StatusCode::kCancelled);
    CHECK(rig.request.starts.empty());  // of ten thousand tenants they would be a megabyte and more
  }
  SUBCASE("plain names ask for these only, and what begins at the head has a position at once") {
    rig.request.tenants.patterns = {"a", "b"};
    rig.start();
    REQUIRE(wait_until([&] { return rig.seen.get(&Recorder::position) == 100; }));
    CHECK_FALSE(rig.engine.last_subscribe().all_tenants());
    CHECK(rig.engine.last_subscribe().positions_size() == 2);
  }
}

TEST_CASE("feed: events of tenants that were not selected are dropped here") {
  Rig rig(UpstreamKind::kFeed);
  rig.request.tenants.patterns = {"a*"};
  rig.start();
  REQUIRE(rig.opens());
  rig.engine.write("b1", 100);
  rig.engine.write("a1", 101);
  REQUIRE(rig.sees(1));
  CHECK(rig.seen.get(&Recorder::events) == Texts{"a1/101/0"});
}

TEST_CASE("feed: what the engine cannot read, or this relay does not know, is a GAP in its place") {
  Rig rig(UpstreamKind::kFeed);
  rig.start();
  REQUIRE(rig.opens());
  rig.engine.write_unreadable("a", 100, headgate::v1::Transaction::KIND_UNREADABLE);
  rig.engine.write_unreadable("a", 101, 99);
  rig.engine.write("a", 102);
  REQUIRE(rig.sees(3));
  const auto events = rig.seen.get(&Recorder::raw);
  CHECK(events[0]->kind == sinks::EventKind::kGap);
  CHECK(events[0]->in_place);
  CHECK(events[0]->reason == "ROW_UNREADABLE");
  CHECK(events[0]->snap_token == encode_legacy_token(100));
  CHECK(events[1]->kind == sinks::EventKind::kGap);
  CHECK(events[1]->reason == "EVENT_UNKNOWN");
  CHECK(events[2]->kind == sinks::EventKind::kChanges);
}

TEST_CASE("feed: the last transactions that arrived are told at the next opening, but for very old ones") {
  Rig rig(UpstreamKind::kFeed);
  rig.request.progress = {90, encode_position_token(90), "", {89, 1, "a"}};
  rig.request.progress.recent = std::make_shared<const std::vector<Identity>>(
      std::vector<Identity>{{80, 1, "a"}, {89, system_clock().unix_micros(), "a"}});
  rig.start();
  REQUIRE(rig.opens());
  const auto first = rig.engine.last_subscribe();
  REQUIRE(first.recent_size() == 1);
  CHECK(first.recent(0).xid() == 89);
  for (uint64_t xid = 100; xid < 200; ++xid) rig.engine.write(xid % 2 == 0 ? "a" : "b", xid);
  REQUIRE(rig.sees(100));
  REQUIRE(wait_until([&] { return rig.seen.get(&Recorder::position) == 200; }));
  const auto recent = rig.seen.get(&Recorder::recent);
  REQUIRE(recent != nullptr);
  CHECK(recent->size() == 64);
  CHECK(recent->front().xid == 136);
  CHECK(recent->back().xid == 199);
}

TEST_CASE("feed: a tenant that cannot start is told with its reason") {
  Rig rig(UpstreamKind::kFeed);
  rig.engine.refuse("a", {grpc::StatusCode::OUT_OF_RANGE, "gone"});
  rig.request.starts = {{"a", {encode_legacy_token(7)}}};
  rig.start();
  REQUIRE(wait_until([&] { return !rig.seen.get(&Recorder::failures).empty(); }));
  CHECK(rig.seen.get(&Recorder::failures) == Texts{"a HISTORY_GONE"});
}

TEST_CASE("feed: silence ends the stream as UNAVAILABLE") {
  Rig rig(UpstreamKind::kFeed);
  rig.settings.heartbeats_missed = 4;
  rig.start();
  REQUIRE(wait_until([&] { return rig.engine.standing() == 1 && rig.seen.get(&Recorder::opens) == 1; }));
  rig.engine.mute(true);
  CHECK(rig.finish().code() == StatusCode::kUnavailable);
  CHECK(message_of(rig.result).find("silent") != std::string::npos);
}

TEST_CASE("feed: heartbeats keep a quiet stream open") {
  Rig rig(UpstreamKind::kFeed);
  rig.settings.heartbeat_interval = Duration(10);
  rig.settings.heartbeats_missed = 20;
  rig.start();
  REQUIRE(rig.opens());
  const auto until = std::chrono::steady_clock::now() + std::chrono::milliseconds(600);
  REQUIRE(wait_until([&] { return rig.ended.load() || std::chrono::steady_clock::now() > until; }));
  CHECK_FALSE(rig.ended);
}

TEST_CASE("feed: the server's end of the stream and its wish to wait are passed on") {
  Rig rig(UpstreamKind::kFeed);
  rig.start();
  REQUIRE(rig.stands(1));
  // google.rpc.Status{details: Any{RetryInfo{retry_delay: 1.5 s}}}
  const std::string type = "type.googleapis.com/google.rpc.RetryInfo";
  std::string duration("\x08\x01\x10\x80\xca\xb5\xee\x01", 8);
  std::string retry = std::string("\x0a") + char(duration.size()) + duration;
  std::string detail = std::string("\x0a") + char(type.size()) + type + "\x12" + char(retry.size()) + retry;
  std::string details = std::string("\x1a") + char(detail.size()) + detail;
  rig.engine.end_streams({grpc::StatusCode::UNAVAILABLE, "draining", details});
  CHECK(rig.finish().code() == StatusCode::kUnavailable);
  CHECK(retry_delay_of(rig.result) == Duration(1500));
}

TEST_CASE("feed: an engine that is not there is UNAVAILABLE, quickly") {
  Rig rig(UpstreamKind::kFeed);
  rig.start();
  REQUIRE(rig.stands(1));
  rig.engine.stop();
  CHECK(rig.finish().code() == StatusCode::kUnavailable);
  CHECK(rig.upstream->run(rig.request, rig.seen, {}).code() == StatusCode::kUnavailable);
  CHECK(rig.upstream->tenants().status().code() == StatusCode::kUnavailable);
}

TEST_CASE("feed: stop ends a run at once, also while the listener holds") {
  Rig rig(UpstreamKind::kFeed);
  rig.start();
  REQUIRE(rig.stands(1));
  CHECK(rig.stop().code() == StatusCode::kCancelled);
}

TEST_CASE("upstream: the key is sent, and a wrong one is UNAUTHENTICATED") {
  for (const UpstreamKind kind : {UpstreamKind::kFeed, UpstreamKind::kWatch}) {
    Rig rig(kind, {.key = "secret"});
    rig.engine.write("a", 100);
    SUBCASE("right") {
      rig.start();
      REQUIRE(rig.stands(1));
      CHECK(rig.upstream->tenants().value() == Texts{"a"});
    }
    SUBCASE("wrong") {
      rig.settings.key = "other";
      rig.start();
      CHECK(rig.finish().code() == StatusCode::kUnauthenticated);
      CHECK(message_of(rig.result).find("other") == std::string::npos);
    }
  }
}

TEST_CASE("upstream: tenants are listed over all pages") {
  Rig rig(UpstreamKind::kFeed);
  for (int i = 0; i < 5; ++i) rig.engine.add_tenant(fmt::format("t{}", i));
  rig.start();
  CHECK(rig.upstream->tenants().value() == Texts{"t0", "t1", "t2", "t3", "t4"});
}

TEST_CASE("auto: an engine without Feed is watched tenant by tenant") {
  Rig rig(UpstreamKind::kAuto, {.feed = false});
  rig.engine.add_tenant("a");
  rig.start();
  REQUIRE(rig.stands(1));
  rig.engine.write("a", 100);
  REQUIRE(rig.sees(1));
  CHECK_FALSE(rig.seen.get(&Recorder::ordered));
}

TEST_CASE("auto: an engine with Feed is asked for it") {
  Rig rig(UpstreamKind::kAuto);
  rig.start();
  REQUIRE(rig.opens());
  CHECK(rig.seen.get(&Recorder::ordered));
}

TEST_CASE("watch: every tenant has a stream and goes on at its token") {
  Rig rig(UpstreamKind::kWatch);
  for (uint64_t xid = 100; xid < 106; ++xid) rig.engine.write(xid % 2 ? "odd" : "even", xid);
  rig.request.starts = {{"odd", {encode_legacy_token(101)}}, {"even", {encode_legacy_token(102)}}};
  rig.start();
  REQUIRE(rig.sees(3));
  Texts events = rig.seen.get(&Recorder::events);
  std::sort(events.begin(), events.end());
  CHECK(events == Texts{"even/104/0", "odd/103/0", "odd/105/0"});
  CHECK(rig.seen.get(&Recorder::raw).front()->incarnation.empty());
  CHECK(rig.stop().code() == StatusCode::kCancelled);
  CHECK(rig.stands(0));
}

TEST_CASE("watch: a tenant that begins at the head is told so in front of its first event, once") {
  Rig rig(UpstreamKind::kWatch);
  rig.engine.add_tenant("a");
  rig.engine.write("b", 90);
  rig.request.starts = {{"b", {encode_legacy_token(90)}}};
  rig.start();
  REQUIRE(rig.stands(2));
  CHECK(rig.seen.get(&Recorder::failures).empty());
  rig.engine.write("a", 100);
  rig.engine.write("b", 101);
  REQUIRE(rig.sees(2));
  CHECK(rig.seen.get(&Recorder::failures) == Texts{"a later STARTED_AT_HEAD " + encode_legacy_token(99)});
  rig.engine.end_streams({grpc::StatusCode::UNAVAILABLE, "cut"});
  rig.engine.write("a", 102);
  REQUIRE(rig.sees(3));
  CHECK(rig.seen.get(&Recorder::failures).size() == 1);
}

TEST_CASE("watch: a stream that breaks is opened again at the last token, the others stay") {
  WatchRig rig;
  rig.engine.end_streams({grpc::StatusCode::UNAVAILABLE, "cut"});
  rig.engine.write("a", 101);
  REQUIRE(rig.sees(2));
  CHECK(rig.seen.get(&Recorder::events) == Texts{"a/100/0", "a/101/0"});
  CHECK(rig.engine.last_token("a") == encode_legacy_token(100));
  CHECK(rig.seen.get(&Recorder::opens) == 1);
}

TEST_CASE("watch: a restart of the server is survived") {
  WatchRig rig;
  rig.engine.stop();
  rig.engine.write("a", 101);
  rig.engine.start();
  REQUIRE(rig.sees(2));
}

TEST_CASE("watch: a new tenant starts at a token from before it existed") {
  WatchRig rig;
  // Two lists later the token of xid 100 is known to be older than whatever appears next.
  const int before = rig.engine.opened("a");
  const auto until = std::chrono::steady_clock::now() + std::chrono::milliseconds(200);
  REQUIRE(wait_until([&] { return std::chrono::steady_clock::now() > until; }));
  rig.engine.write("new", 101);
  rig.engine.write("new", 102);
  REQUIRE(rig.sees(3));
  CHECK(rig.seen.get(&Recorder::events) == Texts{"a/100/0", "new/101/0", "new/102/0"});
  CHECK(rig.engine.opened("a") == before);
}

TEST_CASE("watch: a deleted tenant is told and its stream ends") {
  Rig rig(UpstreamKind::kWatch);
  rig.engine.add_tenant("a");
  rig.engine.add_tenant("b");
  rig.start();
  REQUIRE(rig.stands(2));
  rig.engine.remove_tenant("b");
  REQUIRE(wait_until([&] { return rig.seen.get(&Recorder::removed) == Texts{"b"}; }));
  CHECK(rig.stands(1));
}

TEST_CASE("watch: a dead token is a failure of its tenant only") {
  Rig rig(UpstreamKind::kWatch);
  rig.engine.add_tenant("a");
  rig.engine.add_tenant("b");
  rig.engine.refuse("a", {grpc::StatusCode::OUT_OF_RANGE, "gone"});
  rig.start();
  REQUIRE(wait_until([&] { return rig.seen.get(&Recorder::failures) == Texts{"a HISTORY_GONE"}; }));
  REQUIRE(rig.stands(1));
  rig.engine.write("b", 100);
  REQUIRE(rig.sees(1));
}

TEST_CASE("watch: quiet tenants get an old token that all streams have passed") {
  Rig rig(UpstreamKind::kWatch);
  rig.settings.quiet_token_age = Duration(100);
  rig.engine.add_tenant("a");
  rig.engine.add_tenant("quiet");
  rig.start();
  REQUIRE(rig.stands(2));
  rig.engine.write("a", 100);
  REQUIRE(wait_until([&] { return rig.seen.get(&Recorder::progress_token) == encode_legacy_token(100); }));
  CHECK(rig.seen.get(&Recorder::position) == 0);
}

TEST_CASE("watch: a listener that holds stops the reading, and nothing is lost") {
  Rig rig(UpstreamKind::kWatch);
  rig.engine.add_tenant("a");
  rig.start();
  REQUIRE(rig.stands(1));
  rig.seen.hold = true;
  for (uint64_t xid = 100; xid < 400; ++xid) rig.engine.write("a", xid);
  rig.seen.hold = false;
  REQUIRE(rig.sees(300));
  CHECK(rig.seen.get(&Recorder::events).back() == "a/399/0");
  CHECK(rig.seen.count() == 300);
}

TEST_CASE("watch: calls that do not end are left behind, and end by themselves") {
  Rig rig(UpstreamKind::kWatch);
  for (int i = 0; i < 20; ++i) rig.engine.add_tenant(fmt::format("t{:02}", i));
  // No time at all: whatever gRPC has not ended at once counts as hanging.
  rig.settings.stream_end_max = Duration(0);
  rig.start();
  REQUIRE(rig.stands(20));
  rig.engine.write("t00", 100);
  const auto begin = std::chrono::steady_clock::now();
  rig.stop();
  CHECK(rig.result.code() == StatusCode::kCancelled);
  CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds(3));
  CHECK(wait_until([&] { return rig.engine.standing() == 0; }));
}

TEST_CASE("watch: opening many streams obeys the budget") {
  Rig rig(UpstreamKind::kWatch);
  for (int i = 0; i < 30; ++i) rig.engine.add_tenant(fmt::format("t{:02}", i));
  FakeEngine& engine = rig.engine;
  TokenBucket small(100, 5, system_clock());
  rig.settings.address = engine.address();
  auto upstream = make_upstream(rig.settings, small, system_clock()).value();
  const auto begin = std::chrono::steady_clock::now();
  std::jthread runner([&](std::stop_token stop) { (void)upstream->run(rig.request, rig.seen, stop); });
  REQUIRE(wait_until([&] { return engine.standing() == 30; }));
  CHECK(std::chrono::steady_clock::now() - begin >= std::chrono::milliseconds(240));
}

TEST_SUITE_END();

}  // namespace headgate::relay
