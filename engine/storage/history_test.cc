#include <array>
#include <thread>

#include "engine/storage/history_fixture.h"
#include "engine/storage/horizon.h"
#include "engine/storage/postgres_history.h"
#include "tests/support/engine_session.h"

namespace headgate::engine {

namespace {

using testing::EngineSession;
using testing::PostgresDatabase;

std::unique_ptr<HistoryReader> open(const PostgresDatabase& database) {
  auto reader = open_history({.uri = database.uri()});
  REQUIRE_MESSAGE(reader.ok(), describe(reader.status()));
  return std::move(*reader);
}

uint64_t horizon(HistoryReader& reader) {
  const auto value = reader.horizon();
  REQUIRE_MESSAGE(value.ok(), describe(value.status()));
  return *value;
}

LockHolders holders(std::initializer_list<uint32_t> xids) {
  LockHolders made;
  for (const uint32_t xid : xids) made.xids[xid] = {};
  return made;
}

// Other databases of the server, and its own workers, end their transactions soon.
bool reaches(HistoryReader& reader, uint64_t xid) {
  return testing::wait_until([&] { return horizon(reader) > xid; });
}

std::vector<HistoryTransaction> read(HistoryReader& reader, uint64_t from, std::vector<std::string> tenants = {},
                                     size_t changes_max = 1000) {
  std::vector<HistoryTransaction> all;
  XidRange range{from, horizon(reader)};
  while (range.from < range.to) {
    auto page = reader.page(range, tenants, changes_max);
    REQUIRE_MESSAGE(page.ok(), describe(page.status()));
    for (auto& transaction : page->transactions) all.push_back(std::move(transaction));
    range.from = page->next;
  }
  return all;
}

std::string text(const HistoryTransaction& transaction) {
  std::string out;
  for (const auto& change : transaction.changes) {
    out += change.operation() == base::v1::DataChange::OPERATION_CREATE ? "+" : "-";
    out += change.has_tuple() ? change.tuple().entity().id() : change.attribute().attribute();
    out += ' ';
  }
  return out;
}

}  // namespace

TEST_SUITE("storage/history") {
  TEST_CASE("horizon: only those block that hold the lock and are still in progress") {
    const PgSnapshot before{100, 110, {100, 103, 107}};
    const PgSnapshot after{103, 115, {103, 107, 112}};
    CHECK(horizon_of(engine_snapshot(before, holders({103, 107, 112}), after)) == 103);
    CHECK(horizon_of(engine_snapshot(before, holders({107}), after)) == 107);
    CHECK(horizon_of(engine_snapshot(before, holders({100}), after)) == 110);
    CHECK(horizon_of(engine_snapshot(before, {}, after)) == 110);
    CHECK(horizon_of(engine_snapshot(before, {{}, true}, after)) == 103);
    const uint64_t epoch = uint64_t{3} << 32;
    const PgSnapshot wrapped{epoch + 5, epoch + 9, {epoch + 5}};
    CHECK(horizon_of(engine_snapshot(wrapped, holders({5}), wrapped)) == epoch + 5);
  }

  TEST_CASE("horizon: stays below every open engine transaction in all commit orders of three") {
    HG_PREPARED(database);
    std::array<int, 3> order = {0, 1, 2};
    do {
      const auto reader = open(*database);
      std::array<std::unique_ptr<EngineSession>, 3> sessions;
      std::array<uint64_t, 3> xids{};
      for (size_t i = 0; i < 3; ++i) {
        sessions[i] = std::make_unique<EngineSession>(database->uri());
        xids[i] = sessions[i]->begin("t1");
      }
      std::array<bool, 3> ended{};
      for (const int i : order) {
        sessions[i]->commit();
        ended[i] = true;
        const auto open_one = std::ranges::find(ended, false) - ended.begin();
        const uint64_t expected = open_one == 3 ? xids[2] + 1 : xids[open_one];
        CHECK(testing::wait_until([&] { return horizon(*reader) >= expected; }));
        if (open_one != 3) CHECK(horizon(*reader) == expected);
      }
      std::vector<uint64_t> seen;
      for (const auto& transaction : read(*reader, xids[0])) seen.push_back(transaction.xid);
      CHECK(seen == std::vector<uint64_t>(xids.begin(), xids.end()));
    } while (std::ranges::next_permutation(order).found);
  }

  TEST_CASE("horizon: passes foreign transactions of this and another database, open or prepared") {
    HG_PREPARED(database);
    const auto other = prepared();
    EngineSession near(database->uri()), far(other->uri()), writer(database->uri()), ready(database->uri());
    near.begin_foreign();
    far.begin("t1");  // an engine transaction, but of the other database
    ready.run("BEGIN; SELECT pg_current_xact_id(); PREPARE TRANSACTION 'foreign'");
    const auto reader = open(*database);
    const uint64_t xid = writer.write("t1", "a");
    CHECK(reaches(*reader, xid));
    CHECK(read(*reader, xid).size() == 1);
    const auto now = reader->now();
    REQUIRE(now.ok());
    CHECK(now->in_progress.empty());
    ready.run("ROLLBACK PREPARED 'foreign'");
  }

  TEST_CASE("horizon: a prepared engine transaction blocks until it is committed") {
    HG_PREPARED(database);
    EngineSession first(database->uri()), writer(database->uri());
    const uint64_t xid = first.begin("t1");
    first.add("a");
    first.run("PREPARE TRANSACTION 'ours'");
    const auto reader = open(*database);
    const uint64_t later = writer.write("t1", "b");
    CHECK(testing::wait_until([&] { return horizon(*reader) == xid; }));
    CHECK(read(*reader, xid).empty());
    const auto now = reader->now();
    REQUIRE(now.ok());
    CHECK(now->in_progress == std::vector<uint64_t>{xid});
    CHECK(now->xmax > later);
    first.run("COMMIT PREPARED 'ours'");
    CHECK(reaches(*reader, later));
    CHECK(read(*reader, xid).size() == 2);
  }

  TEST_CASE("horizon: aborted transactions and subtransactions leave no trace") {
    HG_PREPARED(database);
    EngineSession writer(database->uri());
    const auto reader = open(*database);
    const uint64_t first = writer.begin("t1");
    writer.add("gone");
    writer.rollback();
    writer.begin("t1");
    writer.run("SAVEPOINT s");
    writer.add("undone");
    writer.run("ROLLBACK TO s");
    writer.add("kept");
    const uint64_t open_xid = first + 1;
    CHECK(horizon(*reader) <= open_xid);
    writer.commit();
    CHECK(testing::wait_until([&] { return read(*reader, first).size() == 1; }));
    CHECK(text(read(*reader, first)[0]) == "+kept ");
  }

  TEST_CASE("horizon: never passes a running transaction while many write at once") {
    HG_PREPARED(database);
    EngineSession foreign(database->uri());
    foreign.begin_foreign();
    std::atomic<bool> done = false;
    const auto work = [&](int number) {
      EngineSession session(database->uri());
      for (int i = 0; i < 150; ++i) session.write("t" + std::to_string(number), "e" + std::to_string(i));
    };
    const auto reader = open(*database);
    uint64_t from = horizon(*reader);
    std::vector<uint64_t> seen;
    std::jthread writers([&] {
      { std::jthread a(work, 1), b(work, 2), c(work, 3); }
      done = true;
    });
    while (true) {
      const bool last = done;
      const uint64_t to = horizon(*reader);
      while (from < to) {
        auto page = reader->page({from, to}, {}, 50);
        REQUIRE(page.ok());
        for (const auto& transaction : page->transactions) seen.push_back(transaction.xid);
        from = page->next;
      }
      if (last) break;
    }
    CHECK(std::ranges::is_sorted(seen));
    CHECK(seen.size() == 450);
  }

  TEST_CASE("page: deletes before creates, tuples before attributes, values as they were") {
    HG_PREPARED(database);
    EngineSession writer(database->uri());
    const auto reader = open(*database);
    const uint64_t first = writer.begin("t1");
    writer.set("a", "size", R"({"@type": "type.googleapis.com/base.v1.IntegerValue", "data": 7})");
    writer.add("x");
    writer.commit();
    const uint64_t second = writer.begin("t1");
    writer.set("a", "size", R"({"@type": "type.googleapis.com/base.v1.IntegerValue"})");
    writer.add("brief");
    writer.remove("brief");
    writer.add("y");
    writer.remove("x");
    writer.commit();
    const uint64_t third = writer.begin("t1");
    writer.commit();
    REQUIRE(reaches(*reader, third));
    const auto found = read(*reader, first);
    REQUIRE(found.size() == 3);
    CHECK(text(found[0]) == "+x +size ");
    CHECK(found[1].xid == second);
    CHECK(text(found[1]) == "-x -brief -size +y +size ");
    CHECK(text(found[2]) == "");
    CHECK(found[2].started_at_us > 1'600'000'000'000'000);
    base::v1::IntegerValue value;
    REQUIRE(found[0].changes[1].attribute().value().UnpackTo(&value));
    CHECK(value.data() == 7);
    REQUIRE(found[1].changes[4].attribute().value().UnpackTo(&value));
    CHECK(value.data() == 0);
  }

  TEST_CASE("page: any number of tenants and any page size give the same transactions") {
    HG_PREPARED(database);
    EngineSession writer(database->uri());
    const auto reader = open(*database);
    uint64_t first = 0, last = 0;
    for (int i = 0; i < 80; ++i) {
      last = writer.begin("t" + std::to_string(i % 40));
      if (first == 0) first = last;
      writer.add_many(1 + (i % 7) * 3, "d" + std::to_string(i) + "_");
      writer.commit();
    }
    REQUIRE(reaches(*reader, last));
    const auto all = read(*reader, first);
    REQUIRE(all.size() == 80);
    CHECK(all[6].changes.size() == 19);
    CHECK(read(*reader, first, {}, 5).size() == 80);
    CHECK(read(*reader, first, {"t3"}).size() == 2);
    CHECK(read(*reader, first, {"t3", "t\"4\\", "t39"}, 1).size() == 4);
    std::vector<std::string> many;
    for (int i = 0; i < 35; ++i) many.push_back("t" + std::to_string(i));
    CHECK(read(*reader, first, many).size() == 70);
  }

  TEST_CASE("page: a transaction of 100,000 changes arrives whole") {
    HG_PREPARED(database);
    EngineSession writer(database->uri());
    const auto reader = open(*database);
    const uint64_t first = writer.write("t1", "a");
    writer.begin("t1");
    writer.add_many(100'000);
    writer.commit();
    const uint64_t last = writer.write("t1", "b");
    REQUIRE(reaches(*reader, last));
    const auto found = read(*reader, first);
    REQUIRE(found.size() == 3);
    CHECK(found[1].changes.size() == 100'000);
  }

  TEST_CASE("tenants: oldest, newest, owner of an xid, collected history") {
    HG_PREPARED(database);
    EngineSession writer(database->uri());
    const auto reader = open(*database);
    const uint64_t a = writer.write("t1", "a"), b = writer.write("t2", "b"), c = writer.write("t1", "c");
    const std::vector<std::string> names = {"t1", "t2", "none", "t1"};
    const std::vector<uint64_t> xids = {a, a, a, 0};
    auto found = reader->tenants(names, xids);
    REQUIRE_MESSAGE(found.ok(), describe(found.status()));
    REQUIRE(found->size() == 4);
    CHECK((*found)[0].oldest_xid == a);
    CHECK((*found)[0].newest_xid == c);
    CHECK((*found)[0].has_xid);
    CHECK((*found)[0].snapshot.has_value());
    CHECK((*found)[0].floor == 0);
    CHECK((*found)[1].xid_elsewhere);
    CHECK((*found)[1].newest_xid == b);
    CHECK((*found)[2].newest_xid == 0);
    CHECK(!(*found)[3].has_xid);
    const auto next = reader->next_after(names, std::vector<uint64_t>{a, 0, 0, c});
    REQUIRE(next.ok());
    CHECK(*next == std::vector<uint64_t>{c, b, 0, 0});
    CHECK(*reader->rows_among("t1", std::vector<uint64_t>{a, b, c}) == std::vector<uint64_t>{a, c});
    CHECK(*reader->count({a, c + 1}) == 3);
    // Permify's collector leaves no note, only rows that are older than the oldest transaction.
    writer.run("DELETE FROM transactions WHERE id < '" + std::to_string(c) + "' AND tenant_id = 't1'");
    CHECK(reader->tenant("t1", 0)->floor == c);
    writer.run("INSERT INTO headgate.gc_floors (tenant_id, floor) VALUES ('t2', '77')");
    CHECK(reader->tenant("t2", 0)->floor == 77);
  }

  TEST_CASE("incarnation: the first one accepts every xid, the next one only its own") {
    HG_PREPARED(database);
    const auto reader = open(*database);
    const auto first = reader->incarnation();
    REQUIRE_MESSAGE(first.ok(), describe(first.status()));
    CHECK(first->first_xid == 0);
    CHECK(first->id.ends_with("/1"));
    EngineSession writer(database->uri());
    writer.run("UPDATE headgate.incarnations SET id = 'another/1'");
    const auto next = reader->incarnation();
    REQUIRE(next.ok());
    CHECK(next->id == first->id);
    CHECK(next->first_xid >= horizon(*reader) - 5);
    CHECK(reader->incarnation()->first_xid == next->first_xid);
  }

  TEST_CASE("interrupt: a call that hangs returns UNAVAILABLE without telling user or address") {
    HG_PREPARED(database);
    const auto reader = open(*database);
    EngineSession blocker(database->uri());
    blocker.run("BEGIN; LOCK TABLE transactions IN ACCESS EXCLUSIVE MODE");
    const std::string hanging =
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    std::jthread later([&] {
      CHECK(testing::wait_until([&] { return database->execute(hanging) != "0"; }));
      reader->interrupt();
    });
    const auto result = reader->count({0, 10});
    later.join();
    CHECK(result.status().code() == StatusCode::kUnavailable);
    CHECK(message_of(result.status()).find("postgres") == std::string::npos);
  }
}

}  // namespace headgate::engine
