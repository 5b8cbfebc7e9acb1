// What is told while a transaction with a low xid is still in progress.
#include "engine/feed/ahead.h"

#include "engine/feed/feed_fixture.h"
#include "engine/storage/sql.h"
#include "engine/storage/storage_fixture.h"
#include "engine/storage/write_locks.h"

namespace headgate::engine {

namespace {

// A writer of an engine: it holds its tenant's lock before it has an xid.
struct Writer {
  Writer(const PostgresDatabase& database, const std::string& tenant) : session(database.uri()) {
    session.run(fmt::format("SELECT pg_advisory_lock_shared(" HG_WRITER_LOCK "), pg_advisory_lock_shared({})",
                            tenant_lock(tenant)));
    xid = session.begin(tenant);
  }
  EngineSession session;
  uint64_t xid = 0;
};

StreamRequest all_tenants(const std::string& token = "") {
  return {.notices = true, .all_tenants = true, .ahead = true, .earliest = true, .others_token = token};
}

std::vector<uint64_t> of_tenant(const Client& client, const std::string& tenant) {
  std::vector<uint64_t> xids;
  for (const SeenMessage& message : client.seen) {
    if (message.tenant == tenant) xids.push_back(message.xid);
  }
  return xids;
}

// A stream that was opened anew gets what b writes from now on, and then what is held back; nothing twice.
void goes_on(Client& resumed, EngineSession& b, Writer& longer) {
  REQUIRE(resumed.open());
  const uint64_t next = b.write("b", "next");
  REQUIRE(resumed.receives(1));
  CHECK(resumed.xids() == std::vector<uint64_t>{next});
  longer.session.commit();
  REQUIRE(resumed.receives(2));
  CHECK(resumed.xids() == std::vector<uint64_t>{next, longer.xid});
}

}  // namespace

TEST_SUITE("feed/ahead") {
  TEST_CASE("ahead: a tenant's long transaction holds its own tenant back, and no other") {
    HG_PREPARED(database);
    Feed feed(opener(*database), {.ahead_after = Duration(20)});
    EngineSession a(database->uri()), b(database->uri());
    const uint64_t before = b.write("b", "before");
    Client all(feed, all_tenants()), one(feed, {.tenants = {{"b", encode_legacy_token(before)}}, .ahead = true});
    REQUIRE(all.receives(1));
    Writer longer(*database, "a");
    longer.session.add("long");
    const uint64_t a1 = a.write("a", "a1"), b1 = b.write("b", "b1"), b2 = b.write("b", "b2");
    REQUIRE(all.receives(3));
    REQUIRE(one.receives(2));
    CHECK(all.xids() == std::vector<uint64_t>{before, b1, b2});
    CHECK(one.xids() == std::vector<uint64_t>{b1, b2});
    // A position speaks for all tenants.
    CHECK(all.position <= longer.xid);
    CHECK(feed.stats().ahead == 2);
    CHECK(feed.stats().held_seconds > 0);
    longer.session.commit();
    const uint64_t b3 = b.write("b", "b3");
    REQUIRE(all.receives(6));
    CHECK(all.xids() == std::vector<uint64_t>{before, b1, b2, longer.xid, a1, b3});
    CHECK(wait_until([&] { return all.pull() && all.position > b3; }));
    CHECK(one.receives(3));
    CHECK(one.xids() == std::vector<uint64_t>{b1, b2, b3});
  }

  TEST_CASE("ahead: a transaction of somebody unknown holds all tenants back, and is named") {
    HG_PREPARED(database);
    Feed feed(opener(*database), {.ahead_after = Duration(20)});
    EngineSession unknown(database->uri()), b(database->uri());
    const uint64_t before = b.write("b", "before");
    Client all(feed, all_tenants());
    REQUIRE(all.receives(1));
    unknown.run("SET application_name = 'somebody'");
    const uint64_t xid = unknown.begin("a");
    const uint64_t after = b.write("b", "after");
    REQUIRE(wait_until([&] { return !feed.stats().holding.empty(); }));
    const RunningTransaction holding = feed.stats().holding.front();
    CHECK(holding.xid == xid);
    CHECK(holding.holder.application == "somebody");
    CHECK(std::to_string(holding.holder.backend) == unknown.value("SELECT pg_backend_pid()"));
    CHECK(holding.holder.tenants.empty());
    all.pull();
    CHECK(all.xids() == std::vector<uint64_t>{before});
    unknown.add("a");
    unknown.commit();
    REQUIRE(all.receives(3));
    CHECK(all.xids() == std::vector<uint64_t>{before, xid, after});
  }

  TEST_CASE("ahead: who did not ask for it gets everything in the order of xids") {
    HG_PREPARED(database);
    Feed feed(opener(*database), {.ahead_after = Duration(20)});
    EngineSession b(database->uri());
    StreamRequest request = all_tenants();
    request.ahead = false;
    Client ordered(feed, request), ahead(feed, all_tenants());
    REQUIRE(ordered.open());
    Writer longer(*database, "a");
    const uint64_t b1 = b.write("b", "b1");
    REQUIRE(ahead.receives(1));
    ordered.pull();
    CHECK(ordered.seen.empty());
    longer.session.add("long");
    longer.session.commit();
    REQUIRE(ordered.receives(2));
    CHECK(ordered.xids() == std::vector<uint64_t>{longer.xid, b1});
  }

  TEST_CASE("ahead: several long transactions and short ones between, each tenant in its order and each once") {
    HG_PREPARED(database);
    Feed feed(opener(*database), {.ahead_after = Duration(20)});
    EngineSession c(database->uri()), d(database->uri());
    Client all(feed, all_tenants());
    REQUIRE(all.open());
    Writer first(*database, "a");
    const uint64_t b1 = c.write("b", "b1");
    Writer second(*database, "b");
    second.session.add("b2");
    const uint64_t b3 = c.write("b", "b3"), d1 = d.write("d", "d1");
    REQUIRE(all.receives(2));
    CHECK(of_tenant(all, "b") == std::vector<uint64_t>{b1});
    second.session.commit();
    REQUIRE(all.receives(4));
    CHECK(of_tenant(all, "b") == std::vector<uint64_t>{b1, second.xid, b3});
    first.session.add("a1");
    first.session.commit();
    REQUIRE(all.receives(5));
    CHECK(of_tenant(all, "d") == std::vector<uint64_t>{d1});
    CHECK(wait_until([&] { return all.pull() && all.position > d1; }));
    CHECK(all.whole() == 5);
    CHECK(check_atomic(truth(*database), all.seen) == "");
  }

  TEST_CASE("ahead: a client that goes on from what it was told ahead misses nothing and gets nothing twice") {
    HG_PREPARED(database);
    Feed feed(opener(*database), {.ahead_after = Duration(20)});
    EngineSession b(database->uri());
    const uint64_t before = b.write("b", "before");
    std::string position;
    TransactionIdentity last;
    Writer longer(*database, "a");
    longer.session.add("long");
    {
      Client all(feed, all_tenants());
      REQUIRE(all.receives(1));
      const uint64_t b1 = b.write("b", "b1");
      REQUIRE(all.receives(2));
      position = encode_position_token(all.position);
      last = all.lasts["b"];
      CHECK(last.xid == b1);
    }
    StreamRequest request = all_tenants(position);
    request.tenants = {{.tenant = "b", .snap_token = encode_legacy_token(last.xid), .last = last, .ahead = true}};
    Client resumed(feed, request);
    goes_on(resumed, b, longer);
    CHECK(before < longer.xid);
  }

  TEST_CASE("ahead: a client that begins at the head gets everything from the first position on") {
    HG_PREPARED(database);
    Feed feed(opener(*database), {.ahead_after = Duration(20)});
    EngineSession b(database->uri());
    b.write("b", "before");
    Writer longer(*database, "a");
    const uint64_t b1 = b.write("b", "b1");
    // A state of b that is read at that position does not have b1.
    StreamRequest head = all_tenants(), named{.tenants = {{"b", ""}}, .notices = true, .ahead = true};
    head.earliest = false;
    Client all(feed, head), one(feed, named);
    REQUIRE(all.open());
    CHECK(all.opening->position <= longer.xid);
    REQUIRE(all.receives(1));
    REQUIRE(one.receives(1));
    CHECK(all.xids() == std::vector<uint64_t>{b1});
    CHECK(one.xids() == std::vector<uint64_t>{b1});
    longer.session.add("long");
    longer.session.commit();
    REQUIRE(all.receives(2));
    CHECK(all.xids() == std::vector<uint64_t>{b1, longer.xid});
  }

  TEST_CASE("ahead: a tenant whose last event is one of its life, told ahead, goes on behind it") {
    HG_PREPARED(database);
    StorageFixture store(*database);
    Feed feed(opener(*database), {.ahead_after = Duration(20)});
    EngineSession b(database->uri());
    b.write("b", "before");
    REQUIRE(store.store.tenants->create("b", "").ok());
    Writer longer(*database, "a");
    longer.session.add("long");
    StreamRequest request = all_tenants();
    {
      Client all(feed, request);
      REQUIRE(all.receives(2));
      b.write("b", "b1");
      REQUIRE(store.store.schemas->write("b", {{"user", "entity user {}"}}, {}).ok());
      REQUIRE(all.receives(4));
      request.others_token = encode_position_token(all.position);
      request.tenants = {{.tenant = "b", .snap_token = all.tokens.back(), .last = all.lasts["b"], .ahead = true}};
    }
    Client resumed(feed, request);
    goes_on(resumed, b, longer);
  }

  TEST_CASE("ahead: parts of a large transaction go on when the horizon passes in their middle") {
    HG_PREPARED(database);
    Feed feed(opener(*database), {.part_bytes_max = 2'000, .ahead_after = Duration(20)});
    EngineSession b(database->uri());
    Client all(feed, all_tenants());
    REQUIRE(all.open());
    Writer longer(*database, "a");
    longer.session.add("long");
    b.begin("b");
    b.add_many(500);
    b.commit();
    REQUIRE(wait_until([&] {
      all.pull({.items_max = 1});
      return !all.seen.empty();
    }));
    CHECK(all.whole() == 0);
    longer.session.commit();
    const uint64_t last = b.write("b", "last");
    REQUIRE(wait_until([&] { return feed.position() > last; }));
    REQUIRE(all.receives(3));
    CHECK(check_atomic(truth(*database), all.seen) == "");
    CHECK(wait_until([&] { return all.pull() && all.position > last; }));
    CHECK(all.whole() == 3);
  }

  TEST_CASE("ahead: a large transaction that has committed is read beside the others") {
    HG_PREPARED(database);
    Feed feed(opener(*database), {.ahead_after = Duration(20), .large_changes = 50});
    EngineSession a(database->uri()), b(database->uri());
    Client all(feed, all_tenants());
    REQUIRE(all.open());
    a.begin("a");
    a.add_many(3'000);
    a.commit();
    b.write("b", "b1");
    REQUIRE(all.receives(2));
    CHECK(check_atomic(truth(*database), all.seen) == "");
    CHECK(wait_until([&] { return feed.stats().holding.empty(); }));
  }

  TEST_CASE("ahead: what waited for somebody unknown is told in order when that turns out to be large") {
    HG_PREPARED(database);
    Feed feed(opener(*database), {.ahead_after = Duration(20), .large_changes = 50});
    EngineSession a(database->uri()), b(database->uri());
    Client all(feed, all_tenants());
    REQUIRE(all.open());
    a.begin("a");
    a.add_many(60'000);
    std::vector<uint64_t> xids;
    const auto write_some = [&](const std::string& prefix) {
      for (int i = 0; i < 20; ++i) {
        xids.push_back(b.write("b", prefix + std::to_string(i)));
        all.pull();
      }
    };
    write_some("before");
    REQUIRE(wait_until([&] { return feed.stats().held_seconds > 0.1; }));
    a.commit();
    write_some("behind");
    REQUIRE(all.receives(xids.size() + 1));
    CHECK(of_tenant(all, "b") == xids);
  }

  TEST_CASE("ahead: a large transaction that the ring does not keep") {
    HG_PREPARED(database);
    Feed feed(opener(*database), {.ring = {.bytes_max = 200'000}, .ahead_after = Duration(20), .large_changes = 50});
    EngineSession a(database->uri()), b(database->uri());
    EngineSession foreign(database->uri());
    foreign.begin_foreign();
    StreamRequest of_a{.tenants = {{"a", ""}}, .ahead = true, .earliest = true}, of_b = of_a;
    of_b.tenants = {{"b", ""}};
    Client one(feed, of_a), other(feed, of_b);
    REQUIRE(one.open());
    REQUIRE(other.open());
    std::vector<uint64_t> xids, others;
    for (int i = 0; i < 3; ++i) {
      xids.push_back(a.begin("a"));
      a.add_many(8'000, "m" + std::to_string(i));
      a.commit();
      for (int k = 0; k < 20; ++k) {
        xids.push_back(a.write("a", fmt::format("a{}_{}", i, k)));
        others.push_back(b.write("b", fmt::format("b{}_{}", i, k)));
        one.pull();
        other.pull();
      }
    }
    REQUIRE(other.receives(others.size()));
    CHECK(other.xids() == others);
    REQUIRE(one.receives(xids.size()));
    CHECK(check_complete(truth(*database), one.seen, "a", 0) == "");
  }
}

}  // namespace headgate::engine
