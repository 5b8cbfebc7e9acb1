// Starts, ends and losses as subscribers are told them: snapshots, lives of tenants, histories that were replaced.
#include "relay/delivery/relay_fixture.h"

namespace headgate::relay {

namespace {

using headgate::testing::wait_until;
using sinks::EventKind;
using testing::Texts;
using testing::World;

// Without numbers. A GAP that the common stream and the sink's own tell is one here.
Texts told(World& world, const std::string& sink) {
  Texts found;
  for (const std::string& text : world.sink(sink).of("a")) {
    const std::string plain = text.substr(0, text.find('#'));
    if (found.empty() || found.back() != plain || !plain.starts_with("gap")) found.push_back(plain);
  }
  return found;
}

std::string reason_at(World& world, size_t at) { return world.sink().all().at(at).event->reason; }

// Tenant a's history was collected behind its first event; nothing of its state is read before release_snapshots().
void start_with_due_snapshot(World& world) {
  world.source.write("a", 100);
  world.start();
  REQUIRE(wait_until([&] { return world.committed("a") == 100; }));
  world.stop();
  world.source.write("a", 101);
  world.source.forget_history("a", 101);
  world.source.hold_snapshots();
  world.start();
  CHECK(arrives(world, "a", {"100.0#1", "gap 100.0#2"}));
}

}  // namespace

TEST_SUITE_BEGIN("relay/delivery");

TEST_CASE("lives: a start with snapshots sends each tenant's state between marks and goes on behind it") {
  World world;
  world.settings.session.default_start = StartPolicy::kSnapshot;
  world.source.write("a", 100);
  world.source.write("b", 101);
  world.source.write("a", 102);
  world.start();
  CHECK(arrives(world, "a", {"begin 102.0#1", "page 102.1#2", "page 102.2#3", "end 102.3#4"}));
  CHECK(arrives(world, "b", {"begin 102.0#1", "page 102.1#2", "end 102.2#3"}));
  world.source.write("a", 103);
  world.source.live("c", 104, EventKind::kTenantCreated);
  world.source.write("c", 105);
  CHECK(arrives(world, "c", {"created 104.0#1", "105.0#2"}));
  CHECK(world.sink().of("a").back() == "103.0#5");
  world.restart();
  world.source.write("b", 106);
  REQUIRE(wait_until([&] { return world.sink().of("b").back() == "106.0#4"; }));
}

TEST_CASE("lives: what lies between a state and the start of the stream beside it is read again") {
  World world;
  world.settings.session.default_start = StartPolicy::kSnapshot;
  world.source.write("a", 100);
  world.source.write("b", 101);
  world.source.write("a", 102);
  // The pod that answers has not come to where the other one's stream begins.
  world.source.read_snapshots_behind(1);
  world.start();
  CHECK(arrives(world, "a", {"begin 101.0#1", "page 101.1#2", "end 101.2#3", "102.0#4"}));
}

TEST_CASE("lives: what is written while a snapshot is read follows it, and other tenants do not wait") {
  World world;
  world.settings.session.default_start = StartPolicy::kSnapshot;
  world.source.write("a", 100);
  world.source.hold_snapshots();
  world.start();
  REQUIRE(wait_until([&] { return world.relay->source().snapshots == 1; }));
  world.source.write("a", 101);
  world.source.live("b", 102, EventKind::kTenantCreated);
  world.source.write("b", 103);
  CHECK(arrives(world, "b", {"created 102.0#1", "103.0#2"}));
  CHECK(world.sink().of("a").empty());
  world.source.release_snapshots();
  REQUIRE(wait_until([&] { return world.relay->source().snapshots == 0; }));
  world.source.write("a", 104);
  REQUIRE(
      wait_until([&] { return !world.sink().of("a").empty() && world.sink().of("a").back().starts_with("104.0"); }));
  CHECK(world.sink().of("a") == Texts{"begin 103.0#1", "page 103.1#2", "page 103.2#3", "end 103.3#4", "104.0#5"});
}

TEST_CASE("lives: a relay that ends in the middle of a snapshot goes on behind the last page") {
  World world;
  world.settings.session.default_start = StartPolicy::kSnapshot;
  for (uint64_t xid = 100; xid < 130; ++xid) world.source.write("a", xid);
  world.source.hold_snapshots(4);
  world.start();
  REQUIRE(world.has(5));
  SUBCASE("by a kill, and the sink tells what it has") {
    world.kill();
    world.sink().recovered["a"] = cursor_of(world.sink().all().back());
  }
  SUBCASE("in order") { world.stop(); }
  REQUIRE(world.sink().size() == 5);
  world.source.write("a", 130);
  world.source.release_snapshots();
  world.start();
  REQUIRE(world.has(33));
  const Texts all = world.sink().of("a");
  CHECK(all.front() == "begin 129.0#1");
  for (size_t i = 1; i <= 30; ++i) CHECK(all.at(i) == fmt::format("page 129.{}#{}", i, i + 1));
  CHECK(all.at(31) == "end 129.31#32");
  CHECK(all.at(32) == "130.0#33");
}

TEST_CASE("lives: a mark in front of a snapshot's end does not cover what is still to be read behind that") {
  World world;
  world.settings.session.default_start = StartPolicy::kSnapshot;
  world.source.write("a", 100);
  world.source.write("a", 101);
  world.source.hold_snapshots(1);
  world.source.limit_streams(1);
  world.start();
  REQUIRE(world.has(2));
  // All that follows comes to the sink at once, and the stream that would read a:102 again does not come.
  world.sink().fail_with(unavailable("away"));
  world.source.write("b", 102);
  REQUIRE(world.reaches(SinkState::kRetrying));
  world.source.write("a", 103);
  REQUIRE(wait_until([&] { return world.relay->source().position == 104; }));
  world.source.release_snapshots();
  REQUIRE(wait_until([&] { return world.relay->source().state == SessionStatus::State::kWaiting; }));
  world.sink().fail_with(ok_status());
  CHECK(arrives(world, "a", {"begin 101.0#1", "page 101.1#2", "page 101.2#3", "end 101.3#4"}));
  world.stop();
  world.source.limit_streams(SIZE_MAX);
  world.start();
  CHECK(arrives(world, "a", {"begin 101.0#1", "page 101.1#2", "page 101.2#3", "end 101.3#4", "103.0#5"}));
}

TEST_CASE("lives: a snapshot of which the sink has lost pages begins anew behind the GAP") {
  World world;
  world.settings.session.default_start = StartPolicy::kSnapshot;
  for (uint64_t xid = 100; xid < 106; ++xid) world.source.write("a", xid);
  world.source.hold_snapshots(4);
  world.start();
  REQUIRE(world.has(5));
  REQUIRE(wait_until([&] { return world.committed("a") == 105; }));
  world.stop();
  world.sink().recovered["a"] = cursor_of(world.sink().all().at(2));
  world.source.release_snapshots();
  world.start();
  Texts wanted{"begin 105.0#1", "page 105.1#2", "page 105.2#3", "page 105.3#4",
               "page 105.4#5",  "gap 105.2#6",  "begin 105.0#7"};
  for (int page = 1; page <= 6; ++page) wanted.push_back(fmt::format("page 105.{}#{}", page, page + 7));
  wanted.push_back("end 105.7#14");
  CHECK(arrives(world, "a", wanted));
}

TEST_CASE("lives: a snapshot whose position is too old begins anew") {
  World world;
  world.settings.session.default_start = StartPolicy::kSnapshot;
  world.source.write("a", 100);
  world.source.write("a", 101);
  world.source.outdate_snapshots();
  world.start();
  CHECK(arrives(world, "a",
                {"begin 101.0#1", "page 101.1#2", "begin 102.0#3", "page 102.1#4", "page 102.2#5", "end 102.3#6"}));
}

TEST_CASE("lives: a tenant whose history was collected gets a GAP and its state, and the others go on") {
  World world({"s", "t"});
  world.source.write("a", 100);
  world.source.write("b", 101);
  world.start();
  for (const char* sink : {"s", "t"}) REQUIRE(wait_until([&] { return world.committed("b", sink) == 101; }));
  world.stop();
  world.source.write("a", 102);
  world.source.write("b", 103);
  world.source.forget_history("a", 102);
  world.start();
  for (const char* sink : {"s", "t"}) {
    CHECK(arrives(world, "a",
                  {"100.0#1", "gap 101.0#2", "begin 103.0#3", "page 103.1#4", "page 103.2#5", "end 103.3#6"}, sink));
  }
  world.source.forget_history("a", 0);
  world.source.write("a", 104);
  for (const char* sink : {"s", "t"}) {
    REQUIRE(wait_until([&] { return world.sink(sink).of("a").back() == "104.0#7"; }));
    CHECK(world.sink(sink).of("b") == Texts{"101.0#1", "103.0#2"});
  }
}

TEST_CASE("lives: a deletion that a snapshot's state is behind of is part of it, and a later one ends it") {
  World world;
  start_with_due_snapshot(world);
  world.stop();
  // Another life begins before the snapshot does, and the stream tells of it behind the snapshot's first page.
  world.source.live("a", 102, EventKind::kTenantRemoved);
  world.source.live("a", 103, EventKind::kTenantCreated);
  world.source.write("a", 104);
  world.source.write("a", 105);
  world.source.forget_history("a", 0);
  world.source.go_away();
  world.source.hold_snapshots(1);
  world.start();
  Texts wanted{"100.0#1", "gap 100.0#2", "begin 105.0#3", "page 105.1#4"};
  CHECK(arrives(world, "a", wanted));
  SUBCASE("in front") {
    world.source.come_back();
    world.source.write("b", 106);
    CHECK(arrives(world, "b", {"106.0#1"}));
    world.source.release_snapshots();
    wanted.insert(wanted.end(), {"page 105.2#5", "end 105.3#6", "107.0#7"});
  }
  SUBCASE("behind") {
    world.source.live("a", 106, EventKind::kTenantRemoved);
    world.source.come_back();
    wanted.insert(wanted.end(), {"removed 106.0#5", "107.0#6"});
    REQUIRE(wait_until([&] { return world.sink().of("a").size() == 5; }));
  }
  world.source.write("a", 107);
  CHECK(arrives(world, "a", wanted));
}

TEST_CASE("lives: a tenant that is deleted while its snapshot is due is told of that alone, and its next life flows") {
  World world;
  start_with_due_snapshot(world);
  world.source.write("a", 102);
  world.source.live("a", 103, EventKind::kTenantRemoved);
  world.source.forget_history("a", 0);
  world.source.release_snapshots();
  CHECK(arrives(world, "a", {"100.0#1", "gap 100.0#2", "removed 103.0#3"}));
  world.source.live("a", 104, EventKind::kTenantCreated);
  world.source.write("a", 105);
  CHECK(arrives(world, "a", {"100.0#1", "gap 100.0#2", "removed 103.0#3", "created 104.0#4", "105.0#5"}));
}

TEST_CASE("lives: a tenant that stopped at a gap goes on as somebody decides, once") {
  World world({"s", "t"});
  world.settings.session.on_gap = GapPolicy::kFail;
  world.source.write("a", 100);
  world.start();
  for (const char* sink : {"s", "t"}) REQUIRE(wait_until([&] { return world.committed("a", sink) == 100; }));
  world.stop();
  world.source.write("a", 102);
  world.source.write("a", 103);
  world.source.forget_history("a", 102);
  world.start();
  const auto count = [&] { return world.status("s").stopped_tenants + world.status("t").stopped_tenants; };
  const auto stopped = [&] { return wait_until([&] { return count() == 2; }); };
  const auto both = [&](const Texts& wanted) {
    for (const char* sink : {"s", "t"}) CHECK(wait_until([&] { return told(world, sink) == wanted; }));
  };
  REQUIRE(stopped());
  both({"100.0", "gap 100.0"});
  const size_t gaps = world.sink("s").size() + world.sink("t").size();
  REQUIRE(world.relay->resume({"a"}).ok());
  REQUIRE(wait_until([&] { return world.sink("s").size() + world.sink("t").size() >= gaps + 2; }));
  REQUIRE(stopped());
  Texts all{"100.0", "gap 100.0"};
  SUBCASE("with its state") {
    REQUIRE(world.relay->resume({"a", "", GapPolicy::kSnapshot}).ok());
    for (const char* text : {"begin 103.0", "page 103.1", "page 103.2", "page 103.3", "end 103.4"}) all.push_back(text);
  }
  SUBCASE("with what follows") {
    REQUIRE(world.relay->resume({"a", "", GapPolicy::kFromHead}).ok());
    all.push_back("gap 103.0");
  }
  both(all);
  world.source.forget_history("a", 0);
  world.source.write("a", 104);
  all.push_back("104.0");
  both(all);
  CHECK(wait_until([&] { return count() == 0; }));
  REQUIRE(wait_until([&] { return world.committed("a") == 104 && world.committed("a", "t") == 104; }));
  world.stop();
  world.source.forget_history("a", 104);
  world.source.write("a", 105);
  world.start();
  CHECK(stopped());
}

TEST_CASE("lives: an earliest start behind a collected history begins with a GAP") {
  World world;
  world.source.write("a", 100);
  world.source.write("a", 101);
  world.source.collect("a", 100);
  world.start();
  CHECK(arrives(world, "a", {"gap 100.0#1", "101.0#2"}));
  CHECK(reason_at(world, 0) == "HISTORY_STARTS_LATER");
}

TEST_CASE("lives: deletion and re-creation are told in their order, and numbers go on") {
  World world;
  world.source.live("a", 100, EventKind::kTenantCreated);
  world.source.live("a", 101, EventKind::kSchemaChanged);
  world.source.write("a", 102);
  world.start();
  CHECK(arrives(world, "a", {"created 100.0#1", "schema 101.0#2", "102.0#3"}));
  world.source.live("a", 103, EventKind::kTenantRemoved);
  world.source.live("a", 104, EventKind::kTenantCreated);
  world.source.write("a", 105);
  REQUIRE(wait_until([&] { return world.committed("a") == 105; }));
  world.stop();
  world.source.live("a", 106, EventKind::kTenantRemoved);
  world.source.live("a", 107, EventKind::kTenantCreated);
  world.start();
  CHECK(arrives(world, "a",
                {"created 100.0#1", "schema 101.0#2", "102.0#3", "removed 103.0#4", "created 104.0#5", "105.0#6",
                 "removed 106.0#7", "created 107.0#8"}));
}

TEST_CASE("lives: a tenant that stands still is told of its deletion, and its next life flows") {
  World world;
  world.worker.on_poison = PoisonPolicy::kStop;
  world.sink().poison = {101};
  world.start();
  world.source.write("a", 100);
  world.source.write("a", 101);
  world.source.write("a", 102);
  REQUIRE(wait_until([&] { return world.status().stopped_tenants == 1; }));
  world.source.live("a", 103, EventKind::kTenantRemoved);
  world.source.live("a", 104, EventKind::kTenantCreated);
  world.source.write("a", 105);
  CHECK(arrives(world, "a", {"100.0#1", "gap 100.0#2", "removed 103.0#3", "created 104.0#4", "105.0#5"}));
  CHECK(world.status().stopped_tenants == 0);
}

TEST_CASE("lives: a tenant of whom a sink takes nothing, not even a GAP, stops in front of its first event") {
  World world;
  world.sink().refused_tenants = {"bad"};
  world.start();
  for (uint64_t xid = 100; xid < 110; ++xid) world.source.write(xid % 2 ? "bad" : "good", xid);
  REQUIRE(wait_until([&] { return world.sink().of("good").size() == 5; }));
  REQUIRE(wait_until([&] { return world.status().stopped_tenants == 1; }));
  REQUIRE(wait_until([&] { return world.committed(kProgressTenant) == 110 || world.committed("good") == 108; }));
  world.stop();
  SUBCASE("and again after a restart") {
    world.start();
    CHECK(wait_until([&] { return world.status().stopped_tenants == 1; }));
    CHECK(world.sink().of("bad") == Texts{});
    world.stop();
  }
  SUBCASE("and misses nothing when the sink has learnt to take it") {}
  world.sink().refused_tenants.clear();
  world.start();
  REQUIRE(wait_until([&] { return world.sink().of("bad").size() == 5; }));
  CHECK(world.sink().of("bad") == Texts{"101.0#1", "103.0#2", "105.0#3", "107.0#4", "109.0#5"});
  CHECK(world.sink().of("good").size() == 5);
}

TEST_CASE("lives: the GAP of a tenant that stops is told even when the sink goes away over the refused event") {
  World world;
  world.worker.on_poison = PoisonPolicy::kStop;
  world.sink().poison = {101};
  world.sink().away_once_refused = true;
  world.start();
  for (uint64_t xid = 100; xid < 104; ++xid) world.source.write("a", xid);
  REQUIRE(wait_until([&] { return world.status().state == SinkState::kRetrying; }));
  CHECK(world.status().stopped_tenants == 0);
  world.sink().fail_with(ok_status());
  CHECK(arrives(world, "a", {"100.0#1", "gap 100.0#2"}));
  CHECK(wait_until([&] { return world.status().stopped_tenants == 1; }));
}

TEST_CASE("lives: a history that was put back is told to the tenants that lost events, and to no other") {
  World world({"s", "t"});
  world.settings.session.on_gap = GapPolicy::kFromHead;
  for (const uint64_t xid : {100, 101, 102}) world.source.write("old", xid);
  for (const uint64_t xid : {103, 104, 105}) world.source.write("hit", xid);
  world.start();
  for (const char* sink : {"s", "t"})
    REQUIRE(wait_until([&] { return world.committed(kProgressTenant, sink) == 106; }));
  SUBCASE("while the relay runs") {
    world.source.put_back(103);
    world.source.write("hit", 104);
    world.source.write("old", 105);
    world.source.write("old", 106);
    world.source.cut();
  }
  SUBCASE("while it is away, and with more xids than before") {
    world.stop();
    world.source.put_back(103);
    world.source.write("hit", 104);
    world.source.write("old", 105);
    world.source.write("old", 106);
    world.start();
  }
  for (const char* sink : {"s", "t"}) {
    REQUIRE(wait_until([&] { return world.sink(sink).of("old").size() == 5; }));
    CHECK(world.sink(sink).of("old") == Texts{"100.0#1", "101.0#2", "102.0#3", "105.0#4", "106.0#5"});
    REQUIRE(wait_until([&] { return world.sink(sink).of("hit").size() == 6; }));
    CHECK(world.sink(sink).of("hit") == Texts{"103.0#1", "104.0#2", "105.0#3", "gap 102.0#4", "103.0#5", "104.0#6"});
  }
}

TEST_CASE("lives: a lost token store is no reason for sinks to lose events or to use a number again") {
  World world({"s", "t"});
  world.source.write("a", 100);
  world.source.write("a", 101);
  world.start();
  for (const char* sink : {"s", "t"}) REQUIRE(world.has(2, sink));
  world.stop();
  world.store.lose();
  world.settings.session.default_start = StartPolicy::kHead;
  world.source.write("a", 102);
  world.source.write("b", 103);
  world.sink("s").recovered["a"] = cursor_of(world.sink("s").all().back());
  world.sink("t").keeps_place = false;
  world.start();
  // The one that can tell its place goes on there; the other begins at the head, says so and numbers by the time.
  CHECK(arrives(world, "a", {"100.0#1", "101.0#2", "102.0#3"}, "s"));
  REQUIRE(wait_until([&] { return world.committed(kProgressTenant, "t") == 104; }));
  world.source.write("a", 104);
  REQUIRE(wait_until([&] { return world.sink("s").of("a").back() == "104.0#4"; }));
  REQUIRE(wait_until([&] { return world.sink("t").of("a").size() == 4; }));
  const auto all = world.sink("t").all();
  CHECK(all[2].event->kind == EventKind::kGap);
  CHECK(all[2].event->reason == "STARTED_AT_HEAD");
  CHECK(all[2].previous_token.empty());
  CHECK(all[2].sequence > 1'600'000'000'000'000);
  CHECK(all[3].sequence == all[2].sequence + 1);
  CHECK(all[3].previous_token == all[2].event->snap_token);
}

TEST_CASE("lives: a sink that keeps no place gives no number twice, and tells that it may have been sent more") {
  World world;
  world.sink().keeps_place = false;
  for (const uint64_t xid : {100, 101}) world.source.write("a", xid);
  world.source.write("b", 102);
  world.start();
  REQUIRE(wait_until([&] { return world.committed(kProgressTenant) == 103; }));
  const uint64_t first = world.sink().all().front().sequence;
  CHECK(first > 1'600'000'000'000'000);
  // An end that is told leaves no doubt.
  world.restart();
  world.source.write("a", 103);
  REQUIRE(world.has(4));
  CHECK(world.sink().all().back().sequence == first + 2);
  REQUIRE(wait_until([&] { return world.committed("a") == 103; }));
  // This one is sent, and the cursor does not say so.
  world.store.fail_with(unavailable("away"));
  world.source.write("a", 104);
  REQUIRE(world.has(5));
  world.kill();
  const uint64_t last = world.sink().all().back().sequence;
  CHECK(last == first + 3);
  world.start();
  REQUIRE(world.has(7));
  // What is in doubt stays so over ends that are told, for a tenant that was quiet.
  world.restart();
  world.source.write("b", 105);
  world.source.write("a", 106);
  REQUIRE(world.has(10));
  const auto all = world.sink().all();
  const auto check_doubt = [&](size_t at, uint64_t xid) {
    CAPTURE(at);
    CHECK(all[at].event->reason == "RELAY_INTERRUPTED");
    CHECK(all[at].event->xid == xid);
    CHECK(all[at].sequence > last + 1);
    CHECK(all[at].previous_token == encode_legacy_token(xid));
    CHECK(all[at + 1].sequence == all[at].sequence + 1);
    CHECK(all[at + 1].previous_token == encode_legacy_token(xid));
  };
  check_doubt(5, 103);
  CHECK(all[6].event->xid == 104);
  check_doubt(7, 102);
  CHECK(all[8].event->xid == 105);
  CHECK(all[9].event->xid == 106);
  CHECK(all[9].sequence == all[6].sequence + 1);
}

TEST_SUITE_END();

}  // namespace headgate::relay
