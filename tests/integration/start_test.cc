// A start that waits for somebody else's lock or transaction ends when it is told to.
#include <pqxx/pqxx>

#include "tests/support/engine_client.h"
#include "tests/support/postgres_server.h"
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

  TEST_CASE("start: on a standby whose primary has none of the indexes for reads, pages are read without them") {
    if (postgres_binaries().empty()) HG_SKIP("no PostgreSQL server binaries (initdb, postgres) on this machine");
    TempFolder folder;
    PostgresServer primary(folder.path(), {"track_commit_timestamp=on"});
    primary.start();
    EngineProgram first(folder.path(), {.database_uri = primary.uri()});
    first.start();
    EngineClient writer(first.address());
    writer.create_tenant("t", "entity user {} entity doc { relation owner @user }");
    REQUIRE(writer.write("t", {tuple_of("doc:1#owner@user:a"), tuple_of("doc:2#owner@user:a")}).status.ok());
    CHECK(first.stop() == 0);
    pqxx::connection admin(primary.uri());
    pqxx::nontransaction(admin).exec(
        "DROP INDEX headgate_relation_tuples_type, headgate_relation_tuples_entity, headgate_relation_tuples_subject,"
        " headgate_attributes_type");
    const auto standby = PostgresServer::standby_of(primary, folder.path() + "/standby");
    standby->start();
    EngineProgram second(folder.path(), {.database_uri = standby->uri(), .name = "second"});
    second.start();
    EngineClient reader(second.address());
    CHECK(reader.tuples_at("t", "").size() == 2);
    CHECK(read_file(second.log_file()).find("reads_without_index") != std::string::npos);
  }
}
