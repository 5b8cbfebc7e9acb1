#include "relay/delivery/distributor.h"

#include "relay/delivery/relay_fixture.h"
#include "tests/support/process.h"
#include "tests/support/test_main.h"

namespace headgate::relay {

namespace {

using headgate::testing::wait_until;
using testing::World;
using Texts = std::vector<std::string>;

}  // namespace

TEST_SUITE_BEGIN("relay/delivery");

TEST_CASE("distributor: events of all tenants reach all sinks in order, with dense sequences") {
  World world({"s", "t"});
  for (uint64_t xid = 100; xid < 150; ++xid) world.source.write(xid % 2 ? "odd" : "even", xid);
  world.start();
  for (const char* name : {"s", "t"}) {
    REQUIRE(world.has(50, name));
    const Texts odd = world.sink(name).of("odd");
    CHECK(odd.front() == "101.0#1");
    CHECK(odd.back() == "149.0#25");
    CHECK(odd.size() == 25);
  }
  CHECK(wait_until([&] { return world.committed("even") == 148 && world.committed("odd", "t") == 149; }));
}

TEST_CASE("distributor: a restart goes on exactly behind the last event") {
  World world;
  world.source.write("a", 100);
  world.start();
  REQUIRE(world.has(1));
  world.stop();
  world.source.write("a", 101);
  world.source.write("b", 102);
  world.start();
  REQUIRE(world.has(3));
  world.source.write("a", 103);
  REQUIRE(world.has(4));
  world.restart();
  CHECK(world.sink().of("a") == Texts{"100.0#1", "101.0#2", "103.0#3"});
  CHECK(world.sink().of("b") == Texts{"102.0#1"});
}

TEST_CASE("distributor: what was written while the relay was away arrives, also of tenants it never saw") {
  World world;
  world.settings.session.default_start = StartPolicy::kHead;
  world.source.write("old", 100);
  world.start();
  REQUIRE(wait_until([&] { return world.committed(kProgressTenant) == 101; }));
  world.stop();
  world.source.write("old", 101);
  world.source.live("new", 102, sinks::EventKind::kTenantCreated);
  world.source.write("new", 103);
  world.start();
  REQUIRE(world.has(4));
  CHECK(world.sink().of("old") == Texts{"gap 100.0#1", "101.0#2"});
  CHECK(world.sink().all()[0].event->reason == "STARTED_AT_HEAD");
  CHECK(world.sink().of("new") == Texts{"created 102.0#1", "103.0#2"});
}

TEST_CASE(
    "distributor: a kill between acknowledgement and commit repeats the uncommitted tail, with the same numbers") {
  World world;
  world.worker.commit.idle = Duration(0);
  world.source.write("a", 100);
  world.start();
  REQUIRE(wait_until([&] { return world.committed("a") == 100; }));
  world.store.fail_with(unavailable("away"));
  world.source.write("a", 101);
  world.source.write("a", 102);
  REQUIRE(world.has(3));
  world.kill();
  world.start();
  REQUIRE(world.has(5));
  world.source.write("a", 103);
  REQUIRE(world.has(6));
  CHECK(world.sink().of("a") == Texts{"100.0#1", "101.0#2", "102.0#3", "101.0#2", "102.0#3", "103.0#4"});
}

TEST_CASE("distributor: a sink that knows its own place gets no repeats after a kill") {
  World world;
  world.source.write("a", 100);
  world.start();
  REQUIRE(wait_until([&] { return world.committed("a") == 100; }));
  world.store.fail_with(unavailable("away"));
  world.source.write("a", 101);
  REQUIRE(world.has(2));
  world.sink().recovered["a"] = cursor_of(world.sink().all().back());
  world.kill();
  world.source.write("a", 102);
  world.start();
  REQUIRE(world.has(3));
  CHECK(world.sink().of("a") == Texts{"100.0#1", "101.0#2", "102.0#3"});
}

TEST_CASE("distributor: a sink that lost acknowledged events gets them again") {
  World world;
  for (uint64_t xid = 100; xid < 105; ++xid) world.source.write("a", xid);
  world.start();
  REQUIRE(wait_until([&] { return world.committed("a") == 104; }));
  world.stop();
  world.sink().recovered["a"] = cursor_of(world.sink().all()[1]);
  world.start();
  REQUIRE(world.has(9));
  const Texts all = world.sink().of("a");
  CHECK(Texts(all.begin() + 5, all.end()) == Texts{"gap 101.0#6", "102.0#7", "103.0#8", "104.0#9"});
  CHECK(world.reaches(SinkState::kLive));
}

TEST_CASE("distributor: a dead sink holds the other up in nothing and misses nothing when it is back") {
  World world({"dead", "live"});
  world.settings.hub_bytes = 20'000;
  world.sink("dead").fail_with(unavailable("down"));
  world.start();
  for (uint64_t xid = 100; xid < 600; ++xid) {
    world.source.write(xid % 3 ? "a" : "b", xid, 0, false, 500);
    REQUIRE(world.relay->hub().bytes() <= 20'000);
  }
  REQUIRE(world.has(500, "live"));
  CHECK(world.reaches(SinkState::kRetrying, "dead"));
  CHECK(world.status("dead").last_error == "UNAVAILABLE: down");
  CHECK(world.sink("dead").size() == 0);
  world.sink("dead").fail_with(ok_status());
  REQUIRE(world.has(500, "dead"));
  CHECK(world.reaches(SinkState::kLive, "dead"));
  world.source.write("a", 700);
  REQUIRE(world.has(501, "dead"));
  REQUIRE(world.has(501, "live"));
  CHECK(world.sink("dead").of("a") == world.sink("live").of("a"));
  CHECK(world.sink("dead").of("b") == world.sink("live").of("b"));
  CHECK(wait_until([&] { return world.source.open_streams() == 1; }));
}

TEST_CASE("distributor: a sink that writes nothing for long loses its place and joins again while events flow") {
  World world({"live", "slow"});
  world.settings.hub_bytes = 20'000;
  world.start();
  world.sink("slow").cork(true);
  for (uint64_t xid = 100; xid < 400; ++xid) world.source.write("a", xid, 0, false, 500);
  REQUIRE(world.has(300, "live"));
  world.sink("slow").cork(false);
  for (uint64_t xid = 400; xid < 700; ++xid) world.source.write("a", xid, 0, false, 500);
  REQUIRE(world.has(600, "slow"));
  CHECK(world.reaches(SinkState::kLive, "slow"));
  world.source.write("a", 700);
  REQUIRE(world.has(601, "slow"));
  REQUIRE(world.has(601, "live"));
  CHECK(world.sink("slow").of("a") == world.sink("live").of("a"));
  CHECK(world.sink("slow").of("a").back() == "700.0#601");
}

TEST_CASE("distributor: sinks at different places after a kill end up with the same events") {
  World world({"s", "t"});
  for (uint64_t xid = 100; xid < 120; ++xid) world.source.write("a", xid);
  world.start();
  REQUIRE(wait_until([&] { return world.committed("a", "s") == 119 && world.committed("a", "t") == 119; }));
  world.sink("t").cork(true);
  for (uint64_t xid = 120; xid < 140; ++xid) world.source.write("a", xid);
  REQUIRE(wait_until([&] { return world.committed("a", "s") == 139; }));
  world.stop(Duration(0));
  world.sink("t").cork(false);
  world.start();
  REQUIRE(world.has(40, "t"));
  world.source.write("a", 140);
  REQUIRE(world.has(41, "s"));
  REQUIRE(world.has(41, "t"));
  CHECK(world.sink("t").of("a") == world.sink("s").of("a"));
  CHECK(world.reaches(SinkState::kLive, "t"));
}

TEST_CASE("distributor: when all sinks are away the source waits and memory stays bounded") {
  World world;
  world.settings.hub_bytes = 20'000;
  world.sink().cork(true);
  world.start();
  for (uint64_t xid = 100; xid < 300; ++xid) world.source.write("a", xid, 0, false, 500);
  REQUIRE(wait_until([&] { return world.relay->hub().blocked(); }));
  CHECK(world.relay->hub().bytes() <= 20'000);
  world.sink().cork(false);
  REQUIRE(world.has(200));
  CHECK(world.sink().of("a").back() == "299.0#200");
}

TEST_CASE("distributor: the parts of a large transaction survive a cut in the middle") {
  World world;
  world.start();
  world.source.write("a", 100, 0, true);
  world.source.write("a", 100, 1, true);
  REQUIRE(world.has(2));
  world.source.cut();
  world.source.write("a", 100, 2, false);
  REQUIRE(world.has(3));
  world.restart();
  world.source.write("a", 101);
  REQUIRE(world.has(4));
  CHECK(world.sink().of("a") == Texts{"100.0#1", "100.1#2", "100.2#3", "101.0#4"});
}

TEST_CASE("distributor: the stream is opened again after a cut, without gap or repeat") {
  World world;
  world.start();
  for (uint64_t xid = 100; xid < 130; ++xid) {
    world.source.write("a", xid);
    if (xid % 10 != 5) continue;
    REQUIRE(world.has(xid - 99));
    world.source.cut();
  }
  REQUIRE(world.has(30));
  CHECK(world.sink().of("a").size() == 30);
  CHECK(world.relay->source().opened >= 2);
}

TEST_CASE("distributor: with policy fail a tenant without history stops behind a GAP, and the others go on") {
  World world;
  world.settings.session.on_gap = GapPolicy::kFail;
  world.source.write("a", 100);
  world.source.write("b", 101);
  world.start();
  REQUIRE(wait_until([&] { return world.committed("b") == 101 && world.committed("a") == 100; }));
  world.stop();
  world.source.write("a", 102);
  world.source.write("b", 103);
  world.source.forget_history("a", 102);
  for (int round = 0; round < 2; ++round) {
    world.start();
    REQUIRE(world.has(4 + 2 * round));
    REQUIRE(wait_until([&] { return world.status().stopped_tenants == 1; }));
    const auto line = world.relay->tenants({.tenant = "a"}).at(0);
    CHECK(line.state == "HISTORY_GONE");
    CHECK(world.relay->source().failed_tenants == 1);
    // The progress that goes on with b must not carry a over its lost events at the next start.
    world.source.write("b", 110 + round);
    REQUIRE(world.has(5 + 2 * round));
    world.stop();
  }
  CHECK(world.sink().of("a") == Texts{"100.0#1", "gap 101.0#2", "gap 101.0#3"});
  CHECK(world.sink().of("b") == Texts{"101.0#1", "103.0#2", "110.0#3", "111.0#4"});
}

TEST_CASE("distributor: with policy from_head subscribers get a GAP and then what follows") {
  World world;
  world.settings.session.on_gap = GapPolicy::kFromHead;
  world.source.write("a", 100);
  world.source.write("b", 101);
  world.start();
  REQUIRE(wait_until([&] { return world.committed("b") == 101; }));
  world.stop();
  world.source.write("a", 102);
  world.source.write("b", 103);
  world.source.forget_history("a", 102);
  world.start();
  REQUIRE(wait_until([&] { return world.sink().of("a").size() == 2; }));
  world.source.write("a", 104);
  REQUIRE(wait_until([&] { return world.sink().of("a").size() == 3; }));
  CHECK(world.sink().of("a") == Texts{"100.0#1", "gap 103.0#2", "104.0#3"});
  world.restart();
  world.source.write("a", 105);
  REQUIRE(wait_until([&] { return world.sink().of("a").size() == 4; }));
  CHECK(world.sink().of("a").back() == "105.0#4");
  CHECK(world.sink().of("b") == Texts{"101.0#1", "103.0#2"});
  const auto gap = world.sink().all();
  const auto found = std::find_if(gap.begin(), gap.end(), [](const sinks::Delivery& delivery) {
    return delivery.event->kind == sinks::EventKind::kGap;
  });
  CHECK(found->event->reason == "HISTORY_GONE");
}

TEST_CASE(
    "distributor: a source with another history that cannot compare marks every tenant, or waits for a decision") {
  World world;
  world.source.compares = false;
  SUBCASE("from_head: a GAP for each tenant, then events of the new history") {
    world.settings.session.on_gap = GapPolicy::kFromHead;
    world.source.write("a", 1000);
    world.source.write("b", 1001);
    world.start();
    REQUIRE(world.has(2));
    REQUIRE(wait_until([&] { return world.committed(kProgressTenant) == 1002; }));
    world.source.change_history("7001/2");
    REQUIRE(wait_until([&] { return world.relay->source().incarnation == "7001/2"; }));
    world.source.write("a", 500);
    REQUIRE(wait_until([&] { return world.sink().of("a").size() == 3; }));
    CHECK(world.sink().of("a").back() == "500.0#3");
    CHECK(world.sink().all()[2].event->reason == "OTHER_INCARNATION");
    world.restart();
    world.source.write("a", 501);
    REQUIRE(wait_until([&] { return world.sink().of("a").size() == 4; }));
    CHECK(world.sink().of("a").back() == "501.0#4");
  }
  SUBCASE("fail: nothing is delivered") {
    world.settings.session.on_gap = GapPolicy::kFail;
    world.source.write("a", 1000);
    world.start();
    REQUIRE(world.has(1));
    REQUIRE(wait_until([&] { return world.relay->source().position == 1001; }));
    world.source.change_history("7001/2");
    REQUIRE(wait_until([&] { return world.relay->source().state == SessionStatus::State::kHistoryLost; }));
    world.source.write("a", 500);
    CHECK(world.sink().size() == 1);
  }
}

TEST_CASE("distributor: an event that the sink never takes becomes a GAP under its number, and its tenant goes on") {
  World world;
  world.sink().poison = {101};
  world.start();
  for (uint64_t xid = 100; xid < 104; ++xid) world.source.write("a", xid);
  REQUIRE(world.has(4));
  CHECK(world.sink().of("a") == Texts{"100.0#1", "gap 101.0#2", "102.0#3", "103.0#4"});
  CHECK(world.sink().all()[1].event->reason == "EVENT_REFUSED");
  CHECK(world.status().stopped_tenants == 0);
}

TEST_CASE("distributor: a poison event stops its tenant only, behind a GAP, until it is resumed") {
  World world;
  world.worker.on_poison = PoisonPolicy::kStop;
  world.sink().poison = {101};
  world.start();
  for (uint64_t xid = 100; xid < 110; ++xid) world.source.write(xid % 2 ? "bad" : "good", xid);
  REQUIRE(wait_until([&] { return world.sink().of("good").size() == 5; }));
  CHECK(world.sink().of("bad") == Texts{"gap 100.0#1"});
  CHECK(world.relay->tenants({.tenant = "bad"}).at(0).state == "POISON");
  REQUIRE(wait_until([&] { return world.committed(kProgressTenant) == 110 || world.committed("good") == 108; }));
  SUBCASE("by a restart") {
    world.stop();
    world.sink().poison.clear();
    world.start();
  }
  SUBCASE("by a call") {
    CHECK(world.relay->resume({"good"}).code() == StatusCode::kNotFound);
    CHECK(world.relay->resume({"bad", "t"}).code() == StatusCode::kNotFound);
    {
      MutexLock lock(world.sink().mutex);
      world.sink().poison.clear();
    }
    CHECK(world.relay->resume({"bad", "s"}).ok());
  }
  REQUIRE(wait_until([&] { return world.sink().of("bad").size() == 6; }));
  CHECK(world.sink().of("bad") == Texts{"gap 100.0#1", "101.0#2", "103.0#3", "105.0#4", "107.0#5", "109.0#6"});
  CHECK(world.sink().of("good").size() == 5);
  CHECK(world.status().stopped_tenants == 0);
}

TEST_CASE("distributor: with a dead letter file a poison event is kept there once, over restarts") {
  headgate::testing::TempFolder folder;
  World world;
  world.sink().poison = {101};
  world.worker.on_poison = PoisonPolicy::kDeadLetterFile;
  world.worker.dead_letter_file = folder.path() + "/dead.jsonl";
  world.start();
  for (uint64_t xid = 100; xid < 102; ++xid) world.source.write("a", xid);
  REQUIRE(world.has(2));
  for (int round = 0; round < 3; ++round) {
    world.sink().recovered["a"] = cursor_of(world.sink().all().back());
    world.restart();
    world.source.write("a", 102 + round);
    REQUIRE(world.has(3 + round));
  }
  CHECK(world.sink().of("a") == Texts{"100.0#1", "gap 101.0#2", "102.0#3", "103.0#4", "104.0#5"});
  const std::string lines = headgate::testing::read_file(world.worker.dead_letter_file);
  CHECK(lines.find("\"xid\":101") != std::string::npos);
  CHECK(lines.find("\"sequence\":2") != std::string::npos);
  CHECK(std::count(lines.begin(), lines.end(), '\n') == 1);
}

TEST_CASE("distributor: a newer owner of the token store stops the sink") {
  World world;
  world.source.write("a", 100);
  world.start();
  REQUIRE(wait_until([&] { return world.committed("a") == 100; }));
  REQUIRE(world.store.acquire("other pod").ok());
  world.source.write("a", 101);
  REQUIRE(world.reaches(SinkState::kFenced));
  CHECK(world.relay->fenced());
  CHECK(world.committed("a") == 100);
}

TEST_CASE("distributor: a sink that fences stops without committing what it refused") {
  World world;
  world.start();
  world.sink().fail_with(make_status(StatusCode::kFailedPrecondition, "newer epoch"));
  world.source.write("a", 100);
  REQUIRE(world.reaches(SinkState::kFenced));
  world.stop();
  CHECK(world.committed("a") == 0);
}

TEST_CASE("distributor: a token store that is away stops delivery at the bound, and then it goes on") {
  World world;
  world.worker.commit.uncommitted_max = 20;
  world.worker.batch.items_max = 10;
  world.start();
  REQUIRE(wait_until([&] { return world.relay->source().opened == 1; }));
  world.store.fail_with(unavailable("away"));
  for (uint64_t xid = 100; xid < 200; ++xid) world.source.write("a", xid);
  REQUIRE(world.reaches(SinkState::kBlocked));
  CHECK(world.sink().size() <= 40);
  world.store.fail_with(ok_status());
  REQUIRE(world.has(100));
  CHECK(wait_until([&] { return world.committed("a") == 199; }));
}

TEST_CASE("distributor: the cursor is never ahead of the sink") {
  World world;
  world.worker.batch.items_max = 3;
  world.worker.commit.events_max = 1;
  world.sink().cork(true);
  world.start();
  for (uint64_t xid = 100; xid < 110; ++xid) world.source.write("a", xid);
  REQUIRE(wait_until([&] {
    MutexLock lock(world.sink().mutex);
    return world.sink().writing == 1;
  }));
  CHECK(world.committed("a") == 0);
  world.sink().cork(false);
  REQUIRE(wait_until([&] { return world.committed("a") == 109; }));
  CHECK(world.sink().size() == 10);
}

TEST_CASE("distributor: stop drains what is in the ring") {
  World world;
  world.worker.batch.items_max = 5;
  world.start();
  for (uint64_t xid = 100; xid < 300; ++xid) world.source.write("a", xid);
  REQUIRE(wait_until([&] { return world.relay->source().events == 200; }));
  world.stop();
  CHECK(world.sink().size() == 200);
  CHECK(world.committed("a") == 299);
}

TEST_CASE("distributor: stop ends in time although a sink hangs, and commits what was acknowledged") {
  World world;
  world.worker.batch.items_max = 1;
  world.start();
  world.source.write("a", 100);
  REQUIRE(world.has(1));
  world.sink().cork(true);
  world.source.write("a", 101);
  const auto begin = std::chrono::steady_clock::now();
  world.stop(Duration(50));
  CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds(3));
  CHECK(world.committed("a") == 100);
}

TEST_CASE("distributor: without order every event arrives once over cuts and restarts") {
  World world({"s", "t"});
  world.source.ordered = false;
  world.settings.session.default_start = StartPolicy::kEarliest;
  for (const uint64_t xid : {105, 103, 109}) world.source.write("a", xid);
  world.start();
  REQUIRE(world.has(3, "s"));
  REQUIRE(world.has(3, "t"));
  CHECK(world.sink().of("a") == Texts{"105.0#1", "103.0#2", "109.0#3"});
  world.restart();
  world.source.write("a", 110);
  REQUIRE(world.has(4, "s"));
  REQUIRE(world.has(4, "t"));
  CHECK(world.sink("t").of("a") == Texts{"105.0#1", "103.0#2", "109.0#3", "110.0#4"});
}

TEST_CASE("distributor: what others put into a shared sink is no place of this relay") {
  World world;
  world.settings.session.tenants.patterns = {"a"};
  world.source.write("a", 100);
  world.sink().recovered["b"] = {encode_legacy_token(90), 90, 0, false, 7, "7001/1"};
  world.start();
  REQUIRE(wait_until([&] { return world.committed("a") == 100; }));
  CHECK(world.store.load("s").value().count("b") == 0);
}

TEST_CASE("distributor: only selected tenants are delivered") {
  World world;
  world.settings.session.tenants.patterns = {"a*"};
  world.start();
  world.source.write("b1", 100);
  world.source.write("a1", 101);
  REQUIRE(world.has(1));
  CHECK(world.sink().of("a1").size() == 1);
  CHECK(world.sink().of("b1").empty());
}

TEST_CASE("distributor: a token store that is away refuses the start") {
  World world;
  world.store.fail_with(unavailable("away"));
  Distributor relay({world.source, world.store, system_clock(), world.metrics, world.budget}, world.settings);
  std::vector<SinkPart> parts;
  parts.push_back({std::make_unique<testing::StoreSink>("s", world.sinks["s"]), world.worker});
  CHECK(relay.start(std::move(parts), {}).code() == StatusCode::kUnavailable);
}

TEST_SUITE_END();

}  // namespace headgate::relay
