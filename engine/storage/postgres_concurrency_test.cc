#include <thread>

#include "engine/storage/storage_fixture.h"

namespace headgate::engine {
namespace {

constexpr int kWriters = 6;
constexpr int kWrites = 25;
constexpr int kKeys = 5;

struct Written {
  SnapToken token;
  std::string tuple;  // what this write did: "+3" or "-3"
};

// Each key is written and deleted by everybody; returns what every thread was told.
std::vector<Written> write_at_once(const StorageFixture& fixture) {
  std::vector<std::vector<Written>> results(kWriters);
  {
    std::vector<std::jthread> threads;
    for (int writer = 0; writer < kWriters; ++writer) {
      threads.emplace_back([&, writer] {
        for (int i = 0; i < kWrites; ++i) {
          const std::string key = std::to_string((writer * 7 + i * 3) % kKeys);
          base::v1::TupleFilter filter;
          filter.mutable_entity()->add_ids(key);
          if (i % 2 == 0) {
            // Names one tuple, so that it locks a key and not the tenant.
            filter.mutable_entity()->set_type("doc");
            filter.set_relation("o");
            filter.mutable_subject()->set_type("user");
            filter.mutable_subject()->add_ids("x");
          }
          const bool remove = (writer + i) % 3 == 0;
          const auto token = remove ? fixture.store.writer->remove("a", filter, {})
                                    : fixture.store.writer->write("a", {tuple_of("doc", key, "o", "x")},
                                                                  {attribute_of<base::v1::IntegerValue>(key, "n", i)});
          if (token.ok()) results[writer].push_back({*token, (remove ? "-" : "+") + key});
        }
      });
    }
  }
  std::vector<Written> all;
  for (auto& result : results) all.insert(all.end(), result.begin(), result.end());
  std::sort(all.begin(), all.end(), [](const Written& a, const Written& b) { return a.token.xid < b.token.xid; });
  return all;
}

std::set<std::string> keys_at(const StorageFixture& fixture, const SnapToken& at) {
  std::set<std::string> keys;
  const auto page = fixture.store.reader->tuples("a", at, {}, {.size = 100, .continuous_token = ""});
  REQUIRE_MESSAGE(page.ok(), describe(page.status()));
  for (const auto& tuple : page->items) REQUIRE(keys.insert(tuple.entity().id()).second);
  return keys;
}

// The state after the transactions that `token` shows, replayed in xid order.
std::set<std::string> replay(const std::vector<Written>& all, const SnapToken& token) {
  std::set<std::string> keys;
  for (const Written& written : all) {
    const auto& list = token.snapshot.in_progress;
    const bool hidden =
        written.token.xid >= token.snapshot.xmax || std::binary_search(list.begin(), list.end(), written.token.xid);
    if (hidden && written.token.xid != token.xid) continue;
    if (written.tuple[0] == '+') {
      keys.insert(written.tuple.substr(1));
    } else {
      keys.erase(written.tuple.substr(1));
    }
  }
  return keys;
}

TEST_SUITE("storage/concurrency") {
  TEST_CASE("writers at once: every token shows the transactions it covers in xid order, the same at every reading") {
    HG_POSTGRES(database);
    StorageFixture fixture(*database, {.retries_max = 100});
    std::atomic<bool> done{false};
    std::vector<std::pair<SnapToken, std::set<std::string>>> heads;
    std::jthread reader([&] {
      while (!done) {
        const auto head = fixture.store.reader->head("a");
        REQUIRE(head.ok());
        heads.emplace_back(*head, keys_at(fixture, *head));
      }
    });
    const std::vector<Written> all = write_at_once(fixture);
    done = true;
    reader.join();
    REQUIRE(all.size() == kWriters * kWrites);
    for (const Written& written : all) {
      const std::set<std::string> keys = keys_at(fixture, written.token);
      CHECK(keys == replay(all, written.token));
      CHECK(keys.contains(written.tuple.substr(1)) == (written.tuple[0] == '+'));
    }
    // What head showed while writers were at work is what it shows when all is over.
    for (const auto& [token, keys] : heads) CHECK(keys_at(fixture, token) == keys);
    // Not the last token, beside which others may have been in progress.
    const SnapToken head = *fixture.store.reader->head("a");
    CHECK(keys_at(fixture, head) == replay(all, head));
  }

  TEST_CASE("writers at once: disjoint tuples do not fail each other") {
    HG_POSTGRES(database);
    StorageFixture fixture(*database, {.retries_max = 0});
    std::atomic<int> failed{0};
    {
      std::vector<std::jthread> threads;
      for (int writer = 0; writer < 4; ++writer) {
        threads.emplace_back([&, writer] {
          for (int i = 0; i < 50; ++i) {
            const std::string key = std::to_string(writer) + "-" + std::to_string(i);
            failed += !fixture.store.writer->write("a", {tuple_of("doc", key, "o", "x")}, {}).ok();
          }
        });
      }
    }
    CHECK(failed == 0);
  }

  TEST_CASE("writer: a connection that breaks between writes is replaced unnoticed") {
    HG_POSTGRES(database);
    StorageFixture fixture(*database);
    REQUIRE(fixture.store.writer->write("a", {tuple_of("doc", "1", "o", "x")}, {}).ok());
    database->disconnect_all();
    CHECK(fixture.store.writer->write("a", {tuple_of("doc", "2", "o", "x")}, {}).ok());
    database->disconnect_all();
    CHECK(read_head(fixture, "a") == "1#o@x 2#o@x");
  }

  // A deferred trigger holds COMMIT up, so the connection can be cut while it runs.
  void hold_commits(const testing::PostgresDatabase& database, const std::string& body) {
    database.execute("CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN " + body +
                     " RETURN NULL; END $$");
    database.execute(
        "CREATE CONSTRAINT TRIGGER hold AFTER INSERT ON transactions DEFERRABLE INITIALLY DEFERRED FOR EACH ROW "
        "EXECUTE FUNCTION hold()");
  }

  TEST_CASE("writer: a connection cut during COMMIT leads to one write, not to none and not to two") {
    HG_POSTGRES(database);
    StorageFixture fixture(*database);
    // Only the first attempt is held.
    hold_commits(*database, "IF nextval('held') = 1 THEN PERFORM pg_sleep(60); END IF;");
    database->execute("CREATE SEQUENCE held");
    StatusOr<SnapToken> token = make_status(StatusCode::kUnknown, "");
    std::jthread writer([&] { token = fixture.store.writer->write("a", {tuple_of("doc", "1", "o", "x")}, {}); });
    REQUIRE(testing::wait_until([&] {
      return database->execute("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'") == "1";
    }));
    database->execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep'");
    writer.join();
    REQUIRE_MESSAGE(token.ok(), describe(token.status()));
    CHECK(read_names(fixture, "a", *token) == "1#o@x");
    CHECK(database->execute("SELECT count(*) FROM transactions") == "1");
  }

  TEST_CASE("writer: a connection cut after the commit took place leads to one write") {
    // All commits of the server stop for a moment.
    HG_OWN_POSTGRES(database);
    StorageFixture fixture(*database);
    REQUIRE(fixture.store.writer->write("a", {tuple_of("doc", "1", "o", "x")}, {}).ok());
    // With a standby that does not exist, a commit happens and then waits for ever before it is acknowledged.
    database->execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'");
    database->execute("SELECT pg_reload_conf()");
    // The setting reaches the server's processes one after the other, so some writes may still pass.
    std::atomic<bool> last{false};
    int writes = 0;
    StatusOr<SnapToken> token = make_status(StatusCode::kUnknown, "");
    std::jthread writer([&] {
      for (; !last; ++writes) token = fixture.store.writer->write("a", {tuple_of("doc", "2", "o", "x")}, {});
    });
    const bool waiting = testing::wait_until(
        [&] { return database->execute("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'") == "1"; });
    last = true;
    database->execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'");
    writer.join();
    database->execute("ALTER SYSTEM RESET synchronous_standby_names");
    database->execute("SELECT pg_reload_conf()");
    REQUIRE(waiting);
    REQUIRE_MESSAGE(token.ok(), describe(token.status()));
    CHECK(read_names(fixture, "a", *token) == "1#o@x 2#o@x");
    CHECK(database->execute("SELECT count(*) FROM transactions") == std::to_string(writes + 1));
  }

  TEST_CASE("writer: the lock on the table comes before the xid, so the horizon cannot overlook a writer") {
    HG_POSTGRES(database);
    StorageFixture fixture(*database);
    const std::string waiting =
        "SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid)"
        " WHERE l.relation = 'transactions'::regclass AND l.mode = 'RowExclusiveLock' AND a.backend_xid IS ";
    pqxx::connection blocker(database->uri());
    std::jthread writer;
    {
      pqxx::work block(blocker);
      block.exec("LOCK TABLE transactions IN ACCESS EXCLUSIVE MODE");
      writer =
          std::jthread([&] { CHECK(fixture.store.writer->write("a", {tuple_of("doc", "1", "o", "x")}, {}).ok()); });
      CHECK(testing::wait_until([&] { return database->execute(waiting + "NULL AND NOT l.granted") == "1"; }));
    }
    writer.join();
    hold_commits(*database, "PERFORM pg_sleep(0.3);");
    writer = std::jthread([&] { CHECK(fixture.store.writer->write("a", {tuple_of("doc", "2", "o", "x")}, {}).ok()); });
    CHECK(testing::wait_until([&] { return database->execute(waiting + "NOT NULL AND l.granted") == "1"; }));
  }

  TEST_CASE("writer: a database that gives no connection is waited for no longer than acquire_timeout") {
    HG_POSTGRES(database);
    StorageFixture fixture(*database);
    REQUIRE(fixture.store.writer->write("a", {tuple_of("doc", "1", "o", "x")}, {}).ok());
    const std::string admin = "ALTER DATABASE " + database->name() + " CONNECTION LIMIT ";
    database->execute(admin + "0");
    database->execute("CREATE ROLE limited_" + database->name() + " LOGIN");
    PoolSettings settings;
    settings.uri = database->uri() + "?user=limited_" + database->name();
    settings.acquire_timeout = Duration(300);
    auto pool = std::make_shared<Pool>(settings);
    const auto store = make_postgres_datastore(pool);
    const auto started = std::chrono::steady_clock::now();
    CHECK(message_of(store->writer->write("a", {}, {}).status()) == "ERROR_CODE_DATASTORE");
    CHECK(message_of(store->reader->head("a").status()) == "ERROR_CODE_SCAN");
    CHECK(std::chrono::steady_clock::now() - started < std::chrono::seconds(2));
    CHECK(pool->open() == 0);
    CHECK(message_of(pool->refused_lately()).find("53300") != std::string::npos);
    CHECK_FALSE(pool->check().ok());
    database->execute(admin + "-1");
    database->execute("GRANT ALL ON ALL TABLES IN SCHEMA public, headgate TO limited_" + database->name());
    database->execute("GRANT USAGE ON SCHEMA headgate TO limited_" + database->name());
    // The next attempt at a connection may be longer away than a write waits.
    CHECK(testing::wait_until([&] { return store->writer->write("a", {}, {}).ok(); }));
    CHECK(store->reader->head("a").ok());
    CHECK(pool->check().ok());
    database->execute("DROP OWNED BY limited_" + database->name());
    database->execute("DROP ROLE limited_" + database->name());
  }
}

}  // namespace
}  // namespace headgate::engine
