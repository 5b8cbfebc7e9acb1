#include "engine/storage/pool.h"

#include <thread>

#include "tests/support/postgres.h"

namespace headgate::engine {
namespace {

PoolSettings settings_for(const testing::PostgresDatabase& database) {
  PoolSettings settings;
  settings.uri = database.uri();
  settings.connections_max = 1;
  settings.acquire_timeout = Duration(50);
  return settings;
}

Status execute(pqxx::connection_base& connection, const std::string& sql) {
  pqxx::nontransaction(connection).exec(sql);
  return ok_status();
}

TEST_SUITE("storage/pool") {
  TEST_CASE("pool: a caller that finds every connection busy hears RESOURCE_EXHAUSTED") {
    HG_POSTGRES(database);
    Pool pool(settings_for(*database));
    const Status status = pool.run([&](pqxx::connection_base&) {
      CHECK(pool.in_use() == 1);
      return pool.run([](pqxx::connection_base&) { return ok_status(); });
    });
    CHECK(status.code() == StatusCode::kResourceExhausted);
    CHECK(pool.in_use() == 0);
    CHECK(pool.open() == 1);
  }

  TEST_CASE("pool: exceptions become statuses, and only a failed session is thrown away") {
    HG_POSTGRES(database);
    Pool pool(settings_for(*database));
    const auto code = [&](const std::string& sql) {
      return pool.run([&](pqxx::connection_base& connection) { return execute(connection, sql); }).code();
    };
    CHECK(code("CREATE TABLE t (n int PRIMARY KEY); INSERT INTO t VALUES (1)") == StatusCode::kOk);
    CHECK(code("INSERT INTO t VALUES (1)") == StatusCode::kAborted);
    CHECK(pool.open() == 1);
    CHECK(code("nonsense") == StatusCode::kInternal);
    CHECK(pool.open() == 0);
    CHECK(code("SET statement_timeout = 10; SELECT pg_sleep(5)") == StatusCode::kDeadlineExceeded);
    CHECK(code("DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '40001'; END $$") == StatusCode::kAborted);
    CHECK(code("SELECT pg_terminate_backend(pg_backend_pid())") == StatusCode::kUnavailable);
    CHECK(code("SELECT 1") == StatusCode::kOk);
  }

  TEST_CASE("pool: the setup of a session runs once") {
    HG_POSTGRES(database);
    Pool pool(settings_for(*database));
    const SessionSetup setup{"counter", "CREATE TABLE IF NOT EXISTS s (n int); INSERT INTO s VALUES (1)"};
    const auto nothing = [](pqxx::connection_base&) { return ok_status(); };
    REQUIRE(pool.run(setup, nothing).ok());
    REQUIRE(pool.run(setup, nothing).ok());
    CHECK(database->execute("SELECT count(*) FROM s") == "1");
  }

  TEST_CASE("pool: a read is done again when the idle connection had died, a server that is away is UNAVAILABLE") {
    HG_POSTGRES(database);
    Pool pool(settings_for(*database));
    const auto one = [](pqxx::connection_base& connection) { return execute(connection, "SELECT 1"); };
    for (int i = 0; i < 5; ++i) {
      REQUIRE(pool.read(one).ok());
      database->disconnect_all();
    }
    CHECK(pool.read(one).ok());
    Pool nowhere({.uri = "postgresql://someone:secret@127.0.0.1:1/nowhere"});
    const Status status = nowhere.read(one);
    CHECK(status.code() == StatusCode::kUnavailable);
    CHECK(message_of(status).find("secret") == std::string::npos);
    CHECK(message_of(status).find("127.0.0.1") != std::string::npos);
    CHECK(message_of(status).find("Connection refused") != std::string::npos);
  }
}

}  // namespace
}  // namespace headgate::engine
