#include "engine/storage/snapshot_reader.h"

#include <atomic>
#include <set>
#include <thread>

#include "base/v1/base.pb.h"
#include "engine/model/reasons.h"
#include "engine/storage/snapshot_place.h"
#include "engine/storage/storage_fixture.h"
#include "tests/support/engine_session.h"
#include "tests/support/test_main.h"

namespace headgate::engine {

namespace {

using testing::EngineSession;

Status anybody() { return ok_status(); }

std::string text(const base::v1::DataChange& change) {
  CHECK(change.operation() == base::v1::DataChange::OPERATION_CREATE);
  return change.has_tuple() ? change.tuple().ShortDebugString() : change.attribute().ShortDebugString();
}

struct Snapshot {
  std::multiset<std::string> rows;
  std::vector<std::string> pages;
  uint64_t position = 0;
  Status end;
};

// All pages; each is asked for twice.
Snapshot read_all(SnapshotReader& reader, const std::string& tenant, size_t bytes_max, uint64_t position = 0) {
  Snapshot snapshot{.position = position};
  std::string continuation;
  do {
    const SnapshotQuery query{tenant, snapshot.position, continuation, bytes_max, 0};
    const auto page = reader.read(query, anybody);
    if (!page.ok()) {
      snapshot.end = page.status();
      return snapshot;
    }
    snapshot.position = page->position;
    const auto again = reader.read({tenant, snapshot.position, continuation, bytes_max, 0}, anybody);
    REQUIRE(again.ok());
    CHECK(again->changes == page->changes);
    CHECK(again->continuation == page->continuation);
    base::v1::DataChanges changes;
    REQUIRE(changes.ParseFromString(page->changes));
    CHECK(changes.snap_token() == encode_position_token(page->position));
    CHECK((page->changes.size() <= bytes_max || changes.data_changes_size() == 1));
    for (const auto& change : changes.data_changes()) snapshot.rows.insert(text(change));
    snapshot.pages.push_back(page->changes);
    continuation = page->continuation;
  } while (!continuation.empty());
  return snapshot;
}

// What the calls of base.v1 answer at the same position.
std::multiset<std::string> read_by_calls(DataReader& reader, const std::string& tenant, uint64_t position) {
  const SnapToken at = *decode_snap_token(encode_position_token(position));
  std::multiset<std::string> rows;
  std::string next;
  do {
    const auto page = reader.tuples(tenant, at, {}, {.size = 500, .continuous_token = next});
    REQUIRE_MESSAGE(page.ok(), describe(page.status()));
    for (const auto& tuple : page->items) rows.insert(tuple.ShortDebugString());
    next = page->next;
  } while (!next.empty());
  do {
    const auto page = reader.attributes(tenant, at, {}, {.size = 500, .continuous_token = next});
    REQUIRE_MESSAGE(page.ok(), describe(page.status()));
    for (const auto& attribute : page->items) rows.insert(attribute.ShortDebugString());
    next = page->next;
  } while (!next.empty());
  return rows;
}

constexpr char kText[] = R"({"@type": "type.googleapis.com/base.v1.StringValue", "data": "%"})";

std::string text_value(const std::string& data) {
  std::string json = kText;
  return json.replace(json.find('%'), 1, data);
}

}  // namespace

TEST_SUITE("storage/snapshot_reader") {
  TEST_CASE("snapshot: it is the state of the reads at the same position, while everything is being written") {
    HG_POSTGRES(database);
    StorageFixture fixture(*database);
    const auto reader = make_snapshot_reader(fixture.pool);
    EngineSession session(database->uri());
    session.run("INSERT INTO tenants (id, name) VALUES ('t', 't'), ('other', 'o')");
    std::atomic<bool> stop = false;
    const auto write = [&](const std::string& tenant, int seed) {
      EngineSession writer(database->uri());
      for (int i = 0; !stop; ++i) {
        const std::string row = std::to_string(seed) + "-" + std::to_string(i % 40);
        try {
          writer.begin(tenant);
          // Each row is created, expired and created again, and every fourth write is undone.
          writer.remove(row);
          if (i / 40 % 3 != 1) writer.add(row);
          writer.set(row, "note", text_value(std::string(static_cast<size_t>(i % 300), 'x')));
          i % 4 == 3 ? writer.rollback() : writer.commit();
        } catch (const pqxx::serialization_failure&) {
          writer.rollback();
        }
      }
    };
    std::vector<std::jthread> writers;
    for (int i = 0; i < 3; ++i) writers.emplace_back([&, i] { write(i == 2 ? "other" : "t", i); });
    std::set<uint64_t> positions;
    for (int round = 0; round < 25; ++round) {
      const Snapshot snapshot = read_all(*reader, "t", round % 2 == 0 ? 1'500 : 100'000);
      REQUIRE_MESSAGE(snapshot.end.ok(), describe(snapshot.end));
      CHECK(snapshot.rows == read_by_calls(*fixture.store.reader, "t", snapshot.position));
      positions.insert(snapshot.position);
    }
    stop = true;
    writers.clear();
    CHECK(positions.size() > 10);
    // And afterwards, when most rows of the time have ended.
    for (const uint64_t position : positions) {
      const Snapshot old = read_all(*reader, "t", 3'000, position);
      REQUIRE_MESSAGE(old.end.ok(), describe(old.end));
      CHECK(old.rows == read_by_calls(*fixture.store.reader, "t", position));
    }
  }

  TEST_CASE("snapshot: the answer names position, history, newest transaction and schema") {
    HG_POSTGRES(database);
    StorageFixture fixture(*database);
    const auto reader = make_snapshot_reader(fixture.pool);
    EngineSession session(database->uri());
    session.run("INSERT INTO tenants (id, name) VALUES ('empty', 'e')");
    const uint64_t first = session.write("t", "a");
    const uint64_t other = session.write("u", "b");
    session.run(
        "INSERT INTO schema_definitions (name, serialized_definition, version, tenant_id) VALUES ('user', '', "
        "'aaaaaaaaaaaaaaaaaaaa', 't'), ('user', '', 'bbbbbbbbbbbbbbbbbbbb', 't')");
    const auto page = reader->read({"t", 0, "", 1'000, 0}, anybody);
    REQUIRE_MESSAGE(page.ok(), describe(page.status()));
    CHECK(page->position == other + 1);
    REQUIRE(page->newest);
    CHECK(page->newest->xid == first);
    CHECK(std::to_string(page->newest->started_at_us) ==
          session.value("SELECT (extract(epoch FROM \"timestamp\") * 1000000)::bigint FROM transactions WHERE id = '" +
                        std::to_string(first) + "'"));
    CHECK(page->schema_version == "bbbbbbbbbbbbbbbbbbbb");
    CHECK(page->incarnation.find('/') != std::string::npos);
    const auto empty = reader->read({"empty", 0, "", 1'000, 0}, anybody);
    REQUIRE(empty.ok());
    CHECK_FALSE(empty->newest);
    CHECK(empty->continuation.empty());
    CHECK(reader->read({"nobody", 0, "", 1'000, 0}, anybody).status().code() == StatusCode::kNotFound);
    const auto early = reader->read({"t", first, "", 1'000, 0}, anybody);
    REQUIRE(early.ok());
    CHECK_FALSE(early->newest);
    CHECK(reason_of(reader->read({"t", other + 1'000, "", 1'000, 0}, anybody).status()) == kFutureToken);
  }

  TEST_CASE("snapshot: a position above a transaction in progress has to wait, one that is known to be complete not") {
    HG_POSTGRES(database);
    StorageFixture fixture(*database);
    const auto reader = make_snapshot_reader(fixture.pool);
    EngineSession session(database->uri()), foreign(database->uri());
    session.write("t", "a");
    foreign.begin_foreign();
    const uint64_t last = session.write("t", "b");
    CHECK(reader->read({"t", last + 1, "", 1'000, 0}, anybody).status().code() == StatusCode::kUnavailable);
    const auto known = reader->read({"t", last + 1, "", 1'000, last + 1}, anybody);
    REQUIRE_MESSAGE(known.ok(), describe(known.status()));
    CHECK(known->newest->xid == last);
    const auto newest = reader->read({"t", 0, "", 1'000, last + 1}, anybody);
    REQUIRE(newest.ok());
    CHECK(newest->position == last + 1);
  }

  TEST_CASE("snapshot: a large value travels alone, and memory is not filled with those behind it") {
    HG_POSTGRES(database);
    StorageFixture fixture(*database);
    const auto reader = make_snapshot_reader(fixture.pool);
    EngineSession session(database->uri());
    session.begin("t");
    for (int i = 0; i < 8; ++i) {
      session.run(
          "INSERT INTO attributes (entity_type, entity_id, attribute, value, created_tx_id, tenant_id)"
          " SELECT 'doc', 'd" +
          std::to_string(i) +
          "', 'note', jsonb_build_object('@type', 'type.googleapis.com/base.v1.StringValue', 'data',"
          " string_agg(md5(g::text), '')), pg_current_xact_id(), 't' FROM generate_series(1, 8000) g");
      session.add("d" + std::to_string(i));
    }
    session.commit();
    const Snapshot snapshot = read_all(*reader, "t", 10'000);
    REQUIRE_MESSAGE(snapshot.end.ok(), describe(snapshot.end));
    CHECK(snapshot.rows.size() == 16);
    CHECK(snapshot.pages.size() == 9);
    // Whatever is asked for, as JSON a page stays below what sinks take.
    CHECK(read_all(*reader, "t", 4 << 20).pages.size() == 3);
  }

  TEST_CASE("snapshot: it ends with HISTORY_GONE when what it reads is collected or deleted between two pages") {
    HG_POSTGRES(database);
    StorageFixture fixture(*database);
    const auto reader = make_snapshot_reader(fixture.pool);
    EngineSession session(database->uri());
    session.run("INSERT INTO tenants (id, name) VALUES ('t', 't')");
    session.begin("t");
    session.add_many(50);
    session.commit();
    const auto page = reader->read({"t", 0, "", 400, 0}, anybody);
    REQUIRE(page.ok());
    REQUIRE_FALSE(page->continuation.empty());
    const SnapshotQuery next{"t", page->position, page->continuation, 400, 0};
    REQUIRE(reader->read(next, anybody).ok());
    SUBCASE("collected") {
      session.write("t", "later");
      const uint64_t later = session.write("t", "more");
      session.run("INSERT INTO headgate.gc_floors (tenant_id, floor) VALUES ('t', '" + std::to_string(later) + "')");
    }
    SUBCASE("deleted") { REQUIRE(fixture.store.tenants->remove("t").ok()); }
    SUBCASE("deleted by somebody who records nothing, and created again") {
      for (const char* table : {"relation_tuples", "transactions"}) session.run(std::string("DELETE FROM ") + table);
      session.begin("t");
      session.add_many(50);
      session.commit();
    }
    SUBCASE("collected by somebody who records nothing") {
      session.write("t", "later");
      session.run("DELETE FROM transactions WHERE id < (SELECT max(id) FROM transactions)");
    }
    CHECK(reason_of(reader->read(next, anybody).status()) == kHistoryGone);
  }

  TEST_CASE("snapshot: a continuation that is not of this snapshot is refused") {
    HG_POSTGRES(database);
    StorageFixture fixture(*database);
    const auto reader = make_snapshot_reader(fixture.pool);
    EngineSession session(database->uri());
    session.begin("t");
    session.add_many(50);
    session.commit();
    const auto page = reader->read({"t", 0, "", 400, 0}, anybody);
    REQUIRE(page.ok());
    const std::string good = page->continuation;
    CHECK(reader->read({"t", 0, good, 400, 0}, anybody).ok());
    const SnapshotPlace place = *decode_snapshot_place(good);
    CHECK(encode_snapshot_place(place) == good);
    SnapshotPlace zero = place;
    zero.key[0] = std::string("a\0b", 3);
    SnapshotPlace shorter = place;
    shorter.key.pop_back();
    for (const std::string& bad : {std::string("x"), good.substr(4), encode_snapshot_place(zero),
                                   encode_snapshot_place(shorter), std::string("W10="), std::string("bnVsbA==")}) {
      CHECK(reader->read({"t", 0, bad, 400, 0}, anybody).status().code() == StatusCode::kInvalidArgument);
    }
    CHECK(reader->read({"t", page->position - 1, good, 400, 0}, anybody).status().code() ==
          StatusCode::kInvalidArgument);
  }

  TEST_CASE("snapshot: who no longer waits is not served") {
    HG_POSTGRES(database);
    StorageFixture fixture(*database);
    const auto reader = make_snapshot_reader(fixture.pool);
    EngineSession session(database->uri());
    session.write("t", "a");
    const auto gone = reader->read({"t", 0, "", 400, 0}, [] { return make_status(StatusCode::kCancelled, "gone"); });
    CHECK(gone.status().code() == StatusCode::kCancelled);
  }
}

namespace {

// Collects the plans that the server tells.
class Plans : public pqxx::errorhandler {
 public:
  Plans(pqxx::connection_base& connection, std::vector<std::string>* plans) : errorhandler(connection), plans_(plans) {}
  bool operator()(const char message[]) noexcept override {
    plans_->emplace_back(message);
    return true;
  }

 private:
  std::vector<std::string>* plans_;
};

}  // namespace

TEST_SUITE("storage/snapshot_reader") {
  TEST_CASE("snapshot: each page walks an index of the tenant, whatever the planner believes") {
    HG_OWN_POSTGRES(database);
    const StorageFixture fixture(*database);
    EngineSession session(database->uri());
    std::string size = "10";
    SUBCASE("a small tenant beside a large one") {}
    SUBCASE("a large tenant that the statistics know as empty") { size = "60000"; }
    session.run("ALTER TABLE relation_tuples SET (autovacuum_enabled = off)");
    session.begin("large");
    session.add_many(60'000);
    session.commit();
    session.run("ANALYZE");
    session.begin("t");
    session.add_many(std::stoi(size));
    session.set("d1", "note", text_value("n"));
    session.commit();

    std::vector<std::string> plans;
    std::vector<std::unique_ptr<Plans>> handlers;
    PoolSettings settings;
    settings.uri = database->uri();
    settings.prepare = [&](pqxx::connection_base& connection) {
      handlers.push_back(std::make_unique<Plans>(connection, &plans));
      pqxx::nontransaction(connection)
          .exec(
              "LOAD 'auto_explain'; SET auto_explain.log_min_duration = 0; SET auto_explain.log_analyze = on;"
              " SET auto_explain.log_timing = off; SET auto_explain.log_level = notice");
    };
    {
      const auto pool = std::make_shared<Pool>(settings);
      const auto reader = make_snapshot_reader(pool);
      auto page = reader->read({"t", 0, "", 2'000, 0}, anybody);
      REQUIRE_MESSAGE(page.ok(), describe(page.status()));
      for (int i = 0; i < 5 && !page->continuation.empty(); ++i) {
        page = reader->read({"t", page->position, page->continuation, 2'000, 0}, anybody);
        REQUIRE(page.ok());
      }
      handlers.clear();
    }
    int walks = 0;
    for (const std::string& plan : plans) {
      INFO(plan);
      if (plan.find("uq_relation_tuple_not_expired") != std::string::npos) ++walks;
      CHECK(plan.find("Sort") == std::string::npos);
      CHECK(plan.find("Seq Scan") == std::string::npos);
      CHECK(plan.find("using pk_relation_tuple") == std::string::npos);
      CHECK(plan.find("Rows Removed by Filter") == std::string::npos);
    }
    CHECK(walks >= (size == "10" ? 1 : 5));
  }
}

}  // namespace headgate::engine
