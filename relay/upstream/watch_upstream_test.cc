#include "relay/upstream/upstream_fixture.h"
#include "tests/support/fault_proxy.h"

namespace headgate::relay {

TEST_SUITE_BEGIN("relay/upstream");

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
  rig.settings.silent_start = Duration(50);
  rig.engine.add_tenant("a");
  rig.engine.add_tenant("quiet");
  rig.start();
  REQUIRE(rig.stands(2));
  rig.engine.write("a", 100);
  REQUIRE(wait_until([&] { return rig.seen.get(&Recorder::progress_token) == encode_legacy_token(100); }));
  CHECK(rig.seen.get(&Recorder::position) == 0);
}

TEST_CASE("watch: the stream of a tenant that was empty is opened again, and the tenant told what that misses") {
  Rig rig(UpstreamKind::kWatch, {.like_permify = true});
  rig.settings.silent_start = Duration(100);
  rig.engine.write("busy", 80);
  rig.engine.add_tenant("empty");
  rig.start();
  REQUIRE(rig.stands(2));
  rig.engine.write("empty", 90);
  REQUIRE(wait_until([&] { return rig.engine.opened("empty") >= 2; }));
  SUBCASE("at the head, as long as nobody has a token") {
    rig.engine.write("empty", 91);
    REQUIRE(rig.sees(1));
    CHECK(rig.seen.get(&Recorder::events) == Texts{"empty/91/0"});
    CHECK(rig.seen.get(&Recorder::failures) == Texts{"empty later STARTED_AT_HEAD " + encode_legacy_token(90)});
  }
  SUBCASE("at a token of somebody else") {
    rig.engine.write("busy", 100);
    const std::string told = "empty later STARTED_AT_HEAD " + encode_legacy_token(100);
    REQUIRE(wait_until([&] {
      const Texts all = rig.seen.get(&Recorder::failures);
      return std::find(all.begin(), all.end(), told) != all.end();
    }));
    rig.engine.write("empty", 101);
    REQUIRE(rig.sees(2));
    CHECK(rig.engine.last_token("empty") == encode_legacy_token(100));
  }
}

TEST_CASE("watch: a server that does not take a token of somebody else is asked for the head") {
  Rig rig(UpstreamKind::kWatch);
  rig.settings.silent_start = Duration(100);
  rig.engine.add_tenant("quiet");
  rig.engine.write("busy", 80);
  rig.engine.refuse_token("quiet", {grpc::StatusCode::OUT_OF_RANGE, "not of this tenant"});
  rig.start();
  REQUIRE(rig.stands(2));
  rig.engine.write("busy", 100);
  REQUIRE(wait_until([&] { return rig.engine.opened("quiet") >= 3; }));
  REQUIRE(rig.stands(2));
  rig.engine.write("quiet", 101);
  REQUIRE(rig.sees(2));
  for (const std::string& failure : rig.seen.get(&Recorder::failures)) {
    CHECK(failure.find("STARTED_AT_HEAD") != std::string::npos);
  }
}

TEST_CASE("watch: a connection that was swallowed is noticed, and another takes its place") {
  Rig rig(UpstreamKind::kWatch);
  const std::string address = rig.engine.address();
  headgate::testing::FaultProxy proxy(std::stoi(address.substr(address.rfind(':') + 1)));
  rig.address = proxy.address();
  rig.settings.call_timeout = Duration(300);
  rig.settings.watch_channels = 2;
  rig.engine.add_tenant("a");
  rig.engine.add_tenant("b");
  rig.start();
  REQUIRE(rig.stands(2));
  rig.engine.write("a", 100);
  REQUIRE(rig.sees(1));
  proxy.half_open();
  CHECK(rig.finish().code() == StatusCode::kUnavailable);
  CHECK(message_of(rig.result).find("does not answer") != std::string::npos);
  proxy.heal();
  rig.request.starts = {{"a", {encode_legacy_token(100)}}, {"b", {encode_legacy_token(100)}}};
  rig.run();
  rig.engine.write("b", 101);
  REQUIRE(rig.sees(2));
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
  (void)rig.stop();
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
