#include "base/log.h"
#include "relay/upstream/retry_delay.h"
#include "relay/upstream/upstream_fixture.h"

namespace headgate::relay {

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

TEST_CASE("feed: what is told ahead is no position, and is one of the last transactions that arrived") {
  Rig rig(UpstreamKind::kFeed, {.heartbeats = false});
  rig.start();
  REQUIRE(rig.opens());
  rig.engine.write("a", 100);
  rig.engine.write_ahead("b", 150);
  REQUIRE(rig.sees(2));
  CHECK(rig.seen.get(&Recorder::position) == 101);
  rig.engine.write("c", 102);
  rig.engine.write_ahead("b", 150);
  rig.engine.write("c", 103);
  REQUIRE(rig.sees(5));
  REQUIRE(wait_until([&] { return rig.seen.get(&Recorder::position) == 104; }));
  // A crash of the source may lose it while what came later stays.
  std::vector<uint64_t> recent;
  for (const Identity& one : *rig.seen.get(&Recorder::recent)) recent.push_back(one.xid);
  CHECK(recent == std::vector<uint64_t>{100, 150, 102, 103});
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

TEST_SUITE_END();

}  // namespace headgate::relay
