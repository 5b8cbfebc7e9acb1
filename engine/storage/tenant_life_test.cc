#include "engine/storage/tenant_life.h"

#include <future>

#include "engine/storage/postgres_history.h"
#include "engine/storage/storage_fixture.h"
#include "tests/support/engine_session.h"

namespace headgate::engine {

namespace {

using testing::EngineSession;
using testing::PostgresDatabase;
using testing::wait_until;

using Kind = LifeEvent::Kind;

std::unique_ptr<HistoryReader> reader_of(const PostgresDatabase& database) {
  auto reader = open_history({.uri = database.uri()});
  REQUIRE_MESSAGE(reader.ok(), describe(reader.status()));
  return std::move(*reader);
}

std::string told(const HistoryTransaction& transaction) {
  if (!transaction.life) return transaction.tenant + ":write";
  static const char* const kNames[] = {"", "created", "removed", "schema"};
  return transaction.tenant + ":" + (transaction.life->late ? "late-" : "") +
         kNames[static_cast<int>(transaction.life->kind)];
}

// All there is, as "a:created a:write"; each xid is above the one before.
std::string told(const std::vector<HistoryTransaction>& transactions) {
  std::string out;
  uint64_t last = 0;
  for (const HistoryTransaction& transaction : transactions) {
    CHECK(transaction.xid > last);
    last = transaction.xid;
    out += (out.empty() ? "" : " ") + told(transaction);
  }
  return out;
}

std::string history(HistoryReader& reader, std::vector<std::string> tenants = {}, size_t changes_max = 1000) {
  const uint64_t to = reader.now()->xmin;
  std::vector<HistoryTransaction> all;
  for (uint64_t from = 0; from < to;) {
    auto page = reader.page({from, to}, tenants, changes_max);
    REQUIRE_MESSAGE(page.ok(), describe(page.status()));
    for (HistoryTransaction& transaction : page->transactions) all.push_back(std::move(transaction));
    from = page->next;
  }
  return told(all);
}

std::string tail(HistoryReader& reader) {
  const auto found = reader.tail(0, 1000, false);
  REQUIRE_MESSAGE(found.ok(), describe(found.status()));
  return told(found->page.transactions);
}

const std::vector<SchemaRow> kSchema = {{"user", "entity user {}"}};

// Makes the row wait for which `sql` asks until the session rolls back.
class Barrier {
 public:
  Barrier(const PostgresDatabase& database, const std::string& sql) : database_(database), session_(database.uri()) {
    session_.run("BEGIN");
    session_.run(sql);
  }
  // True when somebody waits for it.
  bool reached() const {
    return wait_until([&] {
      return database_.execute(
                 "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND"
                 " wait_event_type = 'Lock'") != "0";
    });
  }
  void open() { session_.rollback(); }

 private:
  const PostgresDatabase& database_;
  EngineSession session_;
};

constexpr char kKnownOfA[] = "SELECT FROM headgate.tenants_known WHERE tenant_id = 'a' FOR UPDATE";

}  // namespace

TEST_SUITE("storage/tenant_life") {
  TEST_CASE("tenant life: what this engine does to a tenant has its place among the writes") {
    HG_POSTGRES(database);
    StorageFixture fixture(*database);
    EngineSession writer(database->uri());
    REQUIRE(fixture.store.tenants->create("a", "A").ok());
    const auto first = fixture.store.schemas->write("a", kSchema, {});
    writer.write("a", "1");
    writer.write("b", "1");
    const auto second = fixture.store.schemas->write("a", kSchema, *first);
    REQUIRE(second.ok());
    const auto reader = reader_of(*database);
    const std::string before = "a:created a:schema a:write b:write a:schema";
    CHECK(history(*reader) == before);
    CHECK(wait_until([&] { return tail(*reader) == before; }));
    CHECK(history(*reader, {"a"}) == "a:created a:schema a:write a:schema");
    const auto page = reader->page({0, reader->now()->xmin}, {}, 1000);
    CHECK(page->transactions[1].life->schema_version == *first);
    CHECK(page->transactions[1].life->previous_schema_version == "");
    CHECK(page->transactions[4].life->schema_version == *second);
    CHECK(page->transactions[4].life->previous_schema_version == *first);
    CHECK(page->transactions[4].started_at_us > page->transactions[0].started_at_us);

    REQUIRE(fixture.store.tenants->remove("a").ok());
    REQUIRE(fixture.store.tenants->create("a", "A").ok());
    writer.write("a", "2");
    const std::string after = "a:created a:schema b:write a:schema a:removed a:created a:write";
    CHECK(history(*reader) == after);
    CHECK(history(*reader, {}, 1) == after);
    CHECK(wait_until([&] { return tail(*reader) == after; }));
    CHECK(*reader->count({0, reader->now()->xmin}) == 7);
  }

  TEST_CASE("tenant life: failed calls and unknown tenants leave no event") {
    HG_POSTGRES(database);
    StorageFixture fixture(*database);
    const auto reader = reader_of(*database);
    CHECK_FALSE(fixture.store.tenants->create("t1", "again").ok());
    CHECK_FALSE(fixture.store.tenants->remove("nobody").ok());
    CHECK_FALSE(fixture.store.schemas->write("t1", kSchema, "00000000000000000000").ok());
    CHECK(history(*reader) == "");
  }

  TEST_CASE("tenant life: an event that commits late is overtaken by nothing") {
    HG_POSTGRES(database);
    StorageFixture fixture(*database);
    REQUIRE(fixture.store.tenants->create("a", "A").ok());
    EngineSession writer(database->uri());
    const auto reader = reader_of(*database);
    std::string expected = "a:created";
    struct Act {
      const char* name;
      const char* barrier;
      std::function<Status()> work;
    };
    const Act acts[] = {
        {"c:created", "INSERT INTO tenants (id) VALUES ('c')",
         [&] { return fixture.store.tenants->create("c", "C").status(); }},
        {"a:schema", kKnownOfA, [&] { return fixture.store.schemas->write("a", kSchema, {}).status(); }},
        {"a:removed", kKnownOfA, [&] { return fixture.store.tenants->remove("a"); }},
    };
    for (const Act& act : acts) {
      CAPTURE(act.name);
      // Its record is there only when the act has its xid.
      Barrier barrier(*database, act.barrier);
      auto done = std::async(std::launch::async, act.work);
      REQUIRE(barrier.reached());
      const uint64_t overtaker = writer.write("b", act.name);
      // The first look may take another database's transaction for one that matters.
      for (int look = 0; look < 3; ++look) CHECK(*reader->horizon() <= overtaker);
      CHECK(reader->now()->xmin < overtaker);
      CHECK(history(*reader) == expected);
      barrier.open();
      CHECK(done.get().ok());
      expected += std::string(" ") + act.name + " b:write";
      if (act.name == std::string("a:removed")) continue;
      CHECK(history(*reader) == expected);
    }
    CHECK(history(*reader) == "a:created c:created b:write a:schema b:write a:removed b:write");
  }

  TEST_CASE("tenant life: a creation that waits for a removal comes behind it") {
    HG_POSTGRES(database);
    StorageFixture fixture(*database);
    REQUIRE(fixture.store.tenants->create("a", "A").ok());
    Barrier barrier(*database, kKnownOfA);
    auto removed = std::async(std::launch::async, [&] { return fixture.store.tenants->remove("a"); });
    REQUIRE(barrier.reached());
    auto created = std::async(std::launch::async, [&] { return fixture.store.tenants->create("a", "A").status(); });
    auto schema =
        std::async(std::launch::async, [&] { return fixture.store.schemas->write("a", kSchema, {}).status(); });
    CHECK(wait_until([&] {
      return database->execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted") == "2";
    }));
    barrier.open();
    CHECK(removed.get().ok());
    CHECK(created.get().ok());
    CHECK(schema.get().ok());
    const auto reader = reader_of(*database);
    const std::string seen = history(*reader);
    CHECK((seen == "a:created a:removed a:created a:schema" || seen == "a:created a:removed a:schema a:created"));
  }

  TEST_CASE("tenant life: what another program did is recorded once, however many engines look") {
    HG_POSTGRES(database);
    StorageFixture fixture(*database);
    const auto reader = reader_of(*database);
    const auto compare = [&] {
      std::vector<std::future<void>> engines;
      for (int i = 0; i < 4; ++i) {
        engines.push_back(std::async(std::launch::async, [&] {
          const auto own = open_history({.uri = database->uri()});
          REQUIRE(wait_until([&] { return *(*own)->record_missed_lives() == MissedLives::kNone; }));
        }));
      }
      for (auto& engine : engines) engine.get();
    };
    compare();
    CHECK(history(*reader) == "");
    database->execute("INSERT INTO tenants (id) VALUES ('p'), ('q')");
    const std::string version =
        "INSERT INTO schema_definitions (tenant_id, name, version, serialized_definition) VALUES ";
    database->execute(version +
                      "('p', 'user', '00000000000000000001', ''), ('t1', 'user', '00000000000000000002', '')");
    compare();
    CHECK(history(*reader, {"p"}) == "p:late-created p:late-schema");
    CHECK(history(*reader, {"q"}) == "q:late-created");
    CHECK(history(*reader, {"t1"}) == "t1:late-schema");
    // Gone and made again between two looks.
    database->execute("DELETE FROM schema_definitions WHERE tenant_id = 'p'");
    database->execute("DELETE FROM tenants WHERE id = 'p'");
    database->execute("INSERT INTO tenants (id) VALUES ('p')");
    database->execute("DELETE FROM tenants WHERE id = 'q'");
    compare();
    CHECK(history(*reader, {"p"}) == "p:late-created p:late-schema p:late-removed p:late-created");
    CHECK(history(*reader, {"q"}) == "q:late-created q:late-removed");
    CHECK(*reader->unrecorded(std::vector<std::string>{"q"}) == std::vector<std::string>{});
  }

  TEST_CASE("tenant life: a name that another program has freed is removed before it is created again") {
    HG_POSTGRES(database);
    StorageFixture fixture(*database);
    REQUIRE(fixture.store.tenants->create("a", "A").ok());
    database->execute("DELETE FROM tenants WHERE id = 'a'");
    REQUIRE(fixture.store.tenants->create("a", "A").ok());
    CHECK(history(*reader_of(*database)) == "a:created a:late-removed a:created");
  }

  TEST_CASE("tenant life: the facts about a tenant tell a removal from a collection") {
    HG_POSTGRES(database);
    StorageFixture fixture(*database);
    EngineSession writer(database->uri()), foreign(database->uri());
    // However old the oldest transaction in progress is.
    foreign.begin_foreign();
    REQUIRE(fixture.store.tenants->create("a", "A").ok());
    const uint64_t xid = writer.write("a", "1");
    const auto reader = reader_of(*database);
    TenantHistory before = *reader->tenant("a", xid);
    CHECK(before.has_xid);
    CHECK(before.created_xid > 0);
    CHECK(before.created_xid < xid);
    CHECK(before.removed_xid == 0);
    CHECK_FALSE(before.floor_is_removal());
    REQUIRE(fixture.store.tenants->remove("a").ok());
    REQUIRE(fixture.store.tenants->create("a", "A").ok());
    const uint64_t next = writer.write("a", "2");
    TenantHistory after = *reader->tenant("a", xid);
    CHECK_FALSE(after.has_xid);
    CHECK(after.removed_xid > xid);
    CHECK(after.created_xid > after.removed_xid);
    CHECK(after.floor_is_removal());
    CHECK(after.floor == after.removed_xid + 1);
    CHECK(reader->next_after(std::vector<std::string>{"a"}, std::vector<uint64_t>{xid})->front() == after.removed_xid);
    const auto lost = reader->collected_behind(xid, UINT64_MAX);
    REQUIRE(lost->size() == 1);
    CHECK(lost->front().by_removal);
    database->execute(fmt::format("UPDATE headgate.gc_floors SET floor = '{}'", next));
    CHECK_FALSE(reader->tenant("a", xid)->floor_is_removal());
    CHECK_FALSE(reader->collected_behind(xid, UINT64_MAX)->front().by_removal);
    // A removal that was noticed later than a collection explains nothing.
    database->execute("DELETE FROM tenants WHERE id = 'a'");
    CHECK(*reader->record_missed_life("a"));
    after = *reader->tenant("a", xid);
    CHECK(after.removed_late_xid > next);
    CHECK(after.removed_behind(next));
    CHECK_FALSE(after.removed_behind(after.removed_late_xid));
    CHECK_FALSE(after.floor_is_removal());
    CHECK_FALSE(reader->collected_behind(xid, UINT64_MAX)->front().by_removal);
  }

  TEST_CASE("tenant life: a reader that came before the table reads it as soon as it is there") {
    HG_POSTGRES(database);
    StorageFixture fixture(*database);
    database->execute("DROP TABLE headgate.tenant_life, headgate.tenants_known");
    const auto reader = reader_of(*database);
    // Everything is served without it.
    REQUIRE(fixture.store.tenants->create("a", "A").ok());
    REQUIRE(fixture.store.schemas->write("a", kSchema, {}).ok());
    REQUIRE(fixture.store.tenants->remove("a").ok());
    CHECK(*reader->record_missed_lives() == MissedLives::kImpossible);
    CHECK(reader->unrecorded(std::vector<std::string>{"a"})->size() == 1);
    CHECK(history(*reader) == "");
    CHECK(tail(*reader) == "");
    REQUIRE(migrate_database({.uri = database->uri()}, {}).ok());
    REQUIRE(fixture.store.tenants->create("b", "B").ok());
    CHECK(wait_until([&] { return tail(*reader) == "b:created"; }));
    CHECK(history(*reader) == "b:created");
  }
}

}  // namespace headgate::engine
