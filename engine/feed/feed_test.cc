#include "engine/feed/feed.h"

#include <map>

#include "engine/feed/feed_fixture.h"

namespace headgate::engine {

TEST_SUITE("feed/feed") {
  TEST_CASE("feed: a stream without token starts now, also for a tenant without history") {
    HG_PREPARED(database);
    Feed feed(opener(*database));
    EngineSession writer(database->uri());
    writer.write("t1", "before");
    Client client(feed, "t1"), empty(feed, "t2");
    REQUIRE(client.open());
    REQUIRE(empty.open());
    CHECK(client.opening->incarnation.ends_with("/1"));
    const uint64_t xid = writer.write("t1", "after");
    writer.write("t2", "first");
    CHECK(client.receives(1));
    CHECK(empty.receives(1));
    CHECK(client.xids() == std::vector<uint64_t>{xid});
    CHECK(client.tokens[0] == encode_legacy_token(xid));
  }

  TEST_CASE("feed: what began before a stream without token and ends after it is delivered, what ended before is not") {
    HG_PREPARED(database);
    Feed feed(opener(*database));
    EngineSession low(database->uri()), high(database->uri());
    const uint64_t first = low.begin("t1");
    low.add("low");
    high.write("t1", "high");
    Client client(feed, "t1");
    REQUIRE(client.open());
    low.commit();
    const uint64_t last = high.write("t1", "last");
    CHECK(client.receives(2));
    CHECK(client.xids() == std::vector<uint64_t>{first, last});
    // The start token names the same state.
    Client resumed(feed, "t1", client.opening->snap_token);
    CHECK(resumed.receives(2));
    CHECK(check_same(client.seen, resumed.seen) == "");
  }

  TEST_CASE("feed: all commit orders of three open transactions arrive complete and in xid order") {
    HG_PREPARED(database);
    Feed feed(opener(*database));
    std::array<int, 3> order = {0, 1, 2};
    EngineSession first(database->uri());
    const uint64_t start = first.write("t1", "start");
    Client client(feed, "t1", encode_legacy_token(start));
    size_t count = 0;
    do {
      std::array<std::unique_ptr<EngineSession>, 3> sessions;
      for (auto& session : sessions) {
        session = std::make_unique<EngineSession>(database->uri());
        session->begin("t1");
        session->add("e" + std::to_string(++count));
      }
      for (const int i : order) {
        sessions[static_cast<size_t>(i)]->commit();
        client.pull();
      }
      CHECK(client.receives(count));
    } while (std::ranges::next_permutation(order).found);
    CHECK(check_complete(truth(*database), client.seen, "t1", start) == "");
    CHECK(check_atomic(truth(*database), client.seen) == "");
  }

  TEST_CASE("feed: state at a write's token and the stream behind it leave nothing out") {
    HG_PREPARED(database);
    Feed feed(opener(*database));
    EngineSession a(database->uri()), b(database->uri()), foreign(database->uri());
    foreign.begin_foreign();
    const uint64_t low = a.begin("t1");
    a.add("a");
    const uint64_t high = b.write("t1", "b");
    const std::string token = write_token(b, high);
    a.commit();
    Client client(feed, "t1", token);
    CHECK(client.receives(1));
    CHECK(client.xids() == std::vector<uint64_t>{low});
    const uint64_t last = b.write("t1", "c");
    CHECK(client.receives(2));
    CHECK(client.xids() == std::vector<uint64_t>{low, last});
  }

  TEST_CASE("feed: foreign transactions do not stall it") {
    HG_PREPARED(database);
    const auto other = prepared();
    Feed feed(opener(*database));
    EngineSession near(database->uri()), far(other->uri()), prepared_one(database->uri()), writer(database->uri());
    near.begin_foreign();
    far.begin("t1");
    prepared_one.run("BEGIN; SELECT pg_current_xact_id(); PREPARE TRANSACTION 'feed_foreign'");
    Client client(feed, "t1");
    REQUIRE(client.open());
    std::vector<double> waited;
    for (size_t i = 1; i <= 20; ++i) {
      writer.write("t1", "e" + std::to_string(i));
      const auto committed = std::chrono::steady_clock::now();
      REQUIRE(client.receives(i));
      waited.push_back(std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - committed).count());
    }
    CHECK(testing::check_never_stalled(waited, 1'000) == "");
    prepared_one.run("ROLLBACK PREPARED 'feed_foreign'");
  }

  TEST_CASE("feed: tokens that cannot be continued from end the stream with a reason") {
    HG_PREPARED(database);
    Feed feed(opener(*database));
    EngineSession writer(database->uri());
    const uint64_t gone = writer.write("t1", "a"), kept = writer.write("t1", "b"), other = writer.write("t2", "c");
    writer.run("DELETE FROM transactions WHERE id = '" + std::to_string(gone) + "'");
    const std::map<std::string, std::string_view> expected = {{encode_legacy_token(gone), kHistoryGone},
                                                              {encode_legacy_token(0), kHistoryGone},
                                                              {encode_position_token(gone), kHistoryGone},
                                                              {encode_legacy_token(other), kUnknownToken},
                                                              {encode_legacy_token(other + 1'000'000), kFutureToken},
                                                              {encode_position_token(other + 1'000'000), kFutureToken},
                                                              {"%%", kMalformedToken}};
    for (const auto& refused : expected) {
      CAPTURE(refused.first);
      Client client(feed, "t1", refused.first);
      REQUIRE(client.ends());
      CHECK(reason_of(client.end) == refused.second);
    }
    Client good(feed, "t1", encode_legacy_token(kept));
    CHECK(good.open());
    CHECK(good.end.ok());
    Client elsewhere(feed, StreamRequest{.tenants = {{"t1", ""}}, .incarnation = "somewhere/1"});
    REQUIRE(elsewhere.ends());
    CHECK(reason_of(elsewhere.end) == kOtherIncarnation);
  }

  TEST_CASE("feed: slow readers fall out of the ring, lose nothing, and two feeds agree to the byte") {
    HG_PREPARED(database);
    FeedSettings small;
    small.ring.bytes_max = 20'000;
    small.catch_up_bytes = 4'000;
    small.page_changes = 100;
    small.part_bytes_max = 2'000;
    Feed feed(opener(*database), small), twin(opener(*database), small);
    EngineSession writer(database->uri());
    const uint64_t start = writer.write("t1", "start");
    Client slow(feed, "t1", encode_legacy_token(start)), quiet(feed, "t9"),
        all(feed, StreamRequest{.all_tenants = true});
    REQUIRE(slow.open());
    REQUIRE(quiet.open());
    REQUIRE(all.open());
    for (int i = 0; i < 300; ++i) {
      writer.begin(i % 3 == 0 ? "t1" : "t2");
      writer.add_many(1 + i % 40, "d" + std::to_string(i) + "_");
      writer.commit();
      slow.pull({.items_max = 1});
    }
    CHECK(wait_until([&] { return feed.stats().transactions >= 300; }));
    CHECK(feed.stats().ring_bytes <= 20'000);
    CHECK(slow.receives(100));
    CHECK(all.receives(300));
    Client again(twin, "t1", encode_legacy_token(start));
    CHECK(again.receives(100));
    const auto rows = truth(*database);
    CHECK(check_complete(rows, slow.seen, "t1", start) == "");
    CHECK(check_atomic(rows, slow.seen) == "");
    CHECK(check_complete(rows, all.seen, "t2", start) == "");
    CHECK(check_atomic(rows, all.seen) == "");
    CHECK(check_same(slow.seen, again.seen) == "");
    CHECK(slow.seen.size() == again.seen.size());
    CHECK(feed.stats().pages_caught_up > 0);
    // A tenant without changes was never woken, and the first change still arrives.
    CHECK(quiet.wakeups() <= 1);
    writer.write("t9", "first");
    CHECK(quiet.receives(1));
    // Resuming at any message's token gives exactly the rest, or the whole transaction when it was in the middle.
    for (size_t i = 0; i < slow.seen.size(); i += 37) {
      Client resumed(feed, "t1", slow.tokens[i]);
      const uint64_t after = slow.seen[i].more_parts ? slow.seen[i].xid - 1 : slow.seen[i].xid;
      const auto rest =
          std::ranges::count_if(slow.seen, [&](const SeenMessage& m) { return m.xid > after && !m.more_parts; });
      CHECK(resumed.receives(static_cast<size_t>(rest)));
      CHECK(check_complete(rows, resumed.seen, "t1", after) == "");
    }
  }

  TEST_CASE("feed: a transaction of 100,000 changes arrives in bounded parts") {
    HG_PREPARED(database);
    FeedSettings small;
    small.ring.bytes_max = 1 << 20;
    Feed feed(opener(*database), small);
    EngineSession writer(database->uri());
    Client client(feed, "t1");
    REQUIRE(client.open());
    const uint64_t xid = writer.begin("t1");
    writer.add_many(100'000);
    writer.commit();
    writer.write("t1", "behind");
    // The transaction is larger than the ring, so the stream reads it several times.
    REQUIRE(client.receives(2, Duration(60'000)));
    CHECK(client.seen.size() > 3);
    for (const SeenMessage& message : client.seen) CHECK(message.bytes.size() <= (1 << 20) + 200);
    CHECK(client.seen.front().xid == xid);
    CHECK(check_atomic(truth(*database), client.seen) == "");
    CHECK(feed.stats().ring_bytes <= 1 << 20);
  }

  TEST_CASE("feed: many tenants on one stream, faults of one as notices") {
    HG_PREPARED(database);
    Feed feed(opener(*database));
    EngineSession writer(database->uri());
    const uint64_t a = writer.write("a", "1"), b = writer.write("b", "2");
    writer.write("c", "3");
    const uint64_t last = writer.write("a", "4");
    Client some(feed, StreamRequest{.tenants = {{"a", encode_legacy_token(a)},
                                                {"b", encode_legacy_token(a)},
                                                {"c", encode_position_token(a)}},
                                    .notices = true});
    CHECK(some.receives(2));
    REQUIRE(some.notices.size() == 1);
    CHECK(some.notices[0].tenant == "b");
    CHECK(some.notices[0].reason == kUnknownToken);
    CHECK(some.xids().back() == last);
    CHECK(wait_until([&] { return some.pull() && some.position > last; }));
    Client all(feed,
               StreamRequest{
                   .tenants = {{"b", encode_legacy_token(b)}}, .notices = true, .all_tenants = true, .earliest = true});
    CHECK(all.receives(3));
    CHECK(check_complete(truth(*database), all.seen, "a", 0) == "");
    CHECK(check_complete(truth(*database), all.seen, "b", b) == "");
  }

  TEST_CASE("feed: tenants that are not named start at the position of the others") {
    HG_PREPARED(database);
    Feed feed(opener(*database));
    EngineSession writer(database->uri());
    writer.write("a", "1");
    const uint64_t before = writer.write("b", "2");
    const uint64_t behind = writer.write("c", "3");
    const StreamRequest request{
        .notices = true, .all_tenants = true, .earliest = true, .others_token = encode_position_token(before + 1)};
    Client client(feed, request);
    CHECK(client.receives(1));
    CHECK(client.xids() == std::vector<uint64_t>{behind});
    // History below the position was collected in one tenant: that one fails by name, the others go on.
    writer.run(fmt::format("INSERT INTO headgate.gc_floors (tenant_id, floor) VALUES ('a', '{}')", behind + 1));
    Client second(feed, request);
    CHECK(second.receives(1));
    REQUIRE(second.notices.size() == 1);
    CHECK(second.notices[0].tenant == "a");
    CHECK(second.notices[0].reason == kHistoryGone);
  }

  TEST_CASE("feed: a collector that is faster than a stream of many tenants is told, tenant by tenant") {
    HG_PREPARED(database);
    EngineSession writer(database->uri());
    writer.write("gone", "1");
    // As many as a page holds, so that the next one begins with what is left of the tenant.
    for (int i = 0; i < 256; ++i) writer.write("kept", std::to_string(i));
    const uint64_t floor = writer.write("gone", "2");
    Feed feed(opener(*database));
    Client client(feed, StreamRequest{.notices = true, .all_tenants = true, .earliest = true});
    REQUIRE(wait_until([&] { return client.wakeups() > 0; }));  // its start is decided, nothing was read yet
    writer.run(fmt::format("INSERT INTO headgate.gc_floors (tenant_id, floor) VALUES ('gone', '{}')", floor));
    writer.run(fmt::format("DELETE FROM transactions WHERE tenant_id = 'gone' AND id < '{}'", floor));
    CHECK(client.receives(256));
    CHECK(wait_until([&] { return client.pull() && !client.notices.empty() && client.position > floor; }));
    REQUIRE(client.notices.size() == 1);
    CHECK(client.notices[0].tenant == "gone");
    CHECK(client.notices[0].reason == kHistoryGone);
    CHECK(check_complete(truth(*database), client.seen, "kept", 0) == "");
  }

  TEST_CASE("feed: survives a lost connection without a gap, and ends streams after a long outage") {
    HG_PREPARED(database);
    FeedSettings settings;
    settings.outage_grace = Duration(300);
    std::atomic<bool> broken = false;
    Feed feed(
        [&, uri = database->uri()]() -> StatusOr<std::unique_ptr<HistoryReader>> {
          if (broken) return unavailable("down");
          return open_history({.uri = uri});
        },
        settings);
    EngineSession writer(database->uri());
    Client client(feed, "t1");
    REQUIRE(client.open());
    writer.write("t1", "a");
    CHECK(client.receives(1));
    database->disconnect_all();
    EngineSession second(database->uri());
    second.write("t1", "b");
    CHECK(client.receives(2));
    CHECK(feed.stats().reconnects == 1);
    broken = true;
    database->disconnect_all();
    REQUIRE(client.ends());
    CHECK(client.end.code() == StatusCode::kUnavailable);
    broken = false;
    CHECK(wait_until([&] { return feed.ready(); }));
  }

  TEST_CASE("feed: a past that changed while the database was away ends all streams") {
    HG_PREPARED(database);
    Feed feed(opener(*database));
    EngineSession writer(database->uri());
    Client client(feed, "t1");
    REQUIRE(client.open());
    writer.write("t1", "a");
    const std::string foreign = writer.value("SELECT pg_current_xact_id()");
    writer.write("t1", "b");
    REQUIRE(client.receives(2));
    // As after a crash: the xid had left nothing durable behind, was handed out again, and became one of ours.
    writer.run("INSERT INTO transactions (id, tenant_id) VALUES ('" + foreign + "', 't1')");
    database->disconnect_all();
    REQUIRE(client.ends());
    CHECK(client.end.code() == StatusCode::kOutOfRange);
    CHECK(reason_of(client.end) == kHistoryReplaced);
    Client next(feed, "t1");
    CHECK(next.open());
  }

  TEST_CASE("feed: idle cost is a snapshot, whatever the number of streams, and the auditor agrees") {
    HG_PREPARED(database);
    FeedSettings settings;
    settings.audit_interval = Duration(300);
    settings.audit_delay = Duration(100);
    Feed feed(opener(*database), settings);
    EngineSession writer(database->uri());
    writer.write("t1", "a");
    std::vector<std::unique_ptr<Client>> clients;
    for (int i = 0; i < 300; ++i) clients.push_back(std::make_unique<Client>(feed, "t" + std::to_string(i)));
    for (auto& client : clients) REQUIRE(client->open());
    for (auto& client : clients) client->pull();
    const FeedStats before = feed.stats();
    CHECK(before.streams == 300);
    CHECK(wait_until([&] { return feed.stats().polls >= before.polls + 100; }));
    const FeedStats after = feed.stats();
    CHECK(after.pages_caught_up == before.pages_caught_up);
    for (int i = 0; i < 20; ++i) writer.write("t1", "x" + std::to_string(i));
    CHECK(clients[1]->receives(20));
    CHECK(wait_until([&] { return feed.stats().audited >= 20; }));
    CHECK(feed.stats().audit_missing == 0);
    CHECK(feed.lowest_live_xid() > 0);
    clients.clear();
    CHECK(feed.lowest_live_xid() == UINT64_MAX);
  }
}

}  // namespace headgate::engine
