// A start that waits for somebody else's lock or transaction ends when it is told to.
#include <pqxx/pqxx>

#include "tests/support/world.h"

TEST_SUITE("integration/start") {
  using namespace headgate::testing;
  using namespace std::chrono_literals;

  // The engine waits in the database, and SIGTERM ends it, with what it does there.
  void check_ends(const PostgresDatabase& database, EngineProgram& engine, const std::string& waits) {
    engine.launch();
    const std::string waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND " + waits;
    REQUIRE(wait_until([&] { return database.execute(waiting) != "0"; }, 20s));
    const auto begin = std::chrono::steady_clock::now();
    CHECK(engine.stop(20s) == 0);
    CHECK(std::chrono::steady_clock::now() - begin < 5s);
    CHECK(wait_until([&] { return database.execute(waiting) == "0"; }, 10s));
  }

  TEST_CASE("start: behind an open transaction or a lock it ends within seconds of SIGTERM") {
    HG_POSTGRES(database);
    TempFolder folder;
    const EngineOptions with{.database_uri = database->uri()};
    EngineProgram engine(folder.path(), with);
    engine.start();
    CHECK(engine.stop() == 0);
    pqxx::connection holder(database->uri());
    SUBCASE("an index that cannot be built yet") {
      database->execute("DROP INDEX headgate_attributes_expired");
      pqxx::work work(holder);
      work.exec(
          "INSERT INTO attributes (tenant_id, entity_type, entity_id, attribute, value) VALUES ('t1', 'a', 'b', "
          "'c', '{}')");
      check_ends(*database, engine, "application_name = 'headgate-migration' AND wait_event_type = 'Lock'");
    }
    SUBCASE("a table that is locked") {
      pqxx::work work(holder);
      work.exec("LOCK TABLE migrations IN ACCESS EXCLUSIVE MODE");
      check_ends(*database, engine, "application_name LIKE 'headgate%' AND wait_event_type = 'Lock'");
    }
    SUBCASE("a table that is locked, and nothing to be migrated") {
      EngineProgram plain(folder.path(), {.database_uri = database->uri(), .more_yaml = "  auto_migrate: false\n"});
      pqxx::work work(holder);
      work.exec("LOCK TABLE migrations IN ACCESS EXCLUSIVE MODE");
      check_ends(*database, plain, "application_name LIKE 'headgate%' AND wait_event_type = 'Lock'");
    }
    SUBCASE("somebody who migrates") {
      pqxx::nontransaction work(holder);
      work.exec("SELECT pg_advisory_lock(7522525836451345509)");
      check_ends(*database, engine, "application_name = 'headgate-migration'");
    }
  }
}
