#include "engine/storage/migrations.h"

#include <fstream>
#include <future>
#include <regex>
#include <sstream>
#include <thread>

#include "tests/support/postgres.h"
#include "tests/support/silent_server.h"

namespace headgate::engine {
namespace {

constexpr char kIndexValid[] =
    "SELECT bool_and(indisvalid) FROM pg_index WHERE indexrelid IN ('headgate_relation_tuples_expired'::regclass, "
    "'headgate_attributes_expired'::regclass)";
constexpr char kLayout[] =
    "SELECT md5(string_agg(t, E'\\n' ORDER BY t)) FROM ("
    " SELECT table_name || column_name || data_type || is_nullable || coalesce(column_default, '') AS t"
    "   FROM information_schema.columns WHERE table_schema = 'public'"
    " UNION ALL SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'"
    " UNION ALL SELECT conname || pg_get_constraintdef(oid) FROM pg_constraint WHERE connamespace = "
    "'public'::regnamespace"
    ") x";

TEST_SUITE("storage/migrations") {
  TEST_CASE("migrations: a fresh database gets Permify's tables, its version rows and the first tenant") {
    HG_POSTGRES(database);
    REQUIRE(migrate_database({.uri = database->uri()}, {}).ok());
    CHECK(database->execute("SELECT string_agg(version_id::text, ' ' ORDER BY id) FROM migrations") ==
          "0 20230117143902 20230117145140 20230118185622 20230729145034 20231122120124 20231230174418 20241018182912 "
          "20250912101325 20250913120000");
    CHECK(database->execute("SELECT id || '/' || name FROM tenants") == "t1/example tenant");
    CHECK(database->execute(kIndexValid) == "t");
  }

  TEST_CASE("migrations: running again changes nothing") {
    HG_POSTGRES(database);
    REQUIRE(migrate_database({.uri = database->uri()}, {}).ok());
    const std::string before = database->execute(kLayout);
    REQUIRE(migrate_database({.uri = database->uri()}, {}).ok());
    CHECK(database->execute(kLayout) == before);
    CHECK(database->execute("SELECT count(*) FROM migrations") == "10");
    CHECK(database->execute("SELECT count(*) FROM tenants") == "1");
  }

  TEST_CASE("migrations: several processes starting at once all succeed") {
    HG_POSTGRES(database);
    std::atomic<int> succeeded{0};
    {
      std::vector<std::jthread> threads;
      for (int i = 0; i < 6; ++i) {
        threads.emplace_back([&] { succeeded += migrate_database({.uri = database->uri()}, {}).ok(); });
      }
    }
    CHECK(succeeded == 6);
    CHECK(database->execute("SELECT count(*) FROM migrations") == "10");
    CHECK(database->execute(kIndexValid) == "t");
  }

  TEST_CASE("migrations: an index left invalid is built again") {
    HG_POSTGRES(database);
    REQUIRE(migrate_database({.uri = database->uri()}, {}).ok());
    database->execute(
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'headgate_attributes_expired'::regclass");
    REQUIRE(database->execute(kIndexValid) == "f");
    REQUIRE(migrate_database({.uri = database->uri()}, {}).ok());
    CHECK(database->execute(kIndexValid) == "t");
  }

  TEST_CASE("migrations: tables of an older Permify are refused and left alone") {
    HG_POSTGRES(database);
    REQUIRE(migrate_database({.uri = database->uri()}, {}).ok());
    database->execute("DELETE FROM migrations WHERE version_id >= 20250912101325");
    database->execute("DROP SCHEMA headgate CASCADE");
    const Status status = migrate_database({.uri = database->uri()}, {});
    CHECK(status.code() == StatusCode::kFailedPrecondition);
    CHECK(message_of(status).find("20241018182912") != std::string::npos);
    CHECK(database->execute("SELECT to_regnamespace('headgate')::text") == "");
  }

  TEST_CASE("migrations: a database of Permify keeps its rows and its version table") {
    HG_POSTGRES(database);
    std::ifstream file(std::string(HEADGATE_SOURCE_DIR) + "/tests/cases/permify_database.sql");
    std::stringstream sql;
    sql << file.rdbuf();
    REQUIRE(!sql.str().empty());
    {
      // The file holds transactions of its own; each COMMIT ends one.
      pqxx::connection connection(database->uri());
      pqxx::nontransaction work(connection);
      const std::string text = sql.str();
      size_t from = 0;
      for (size_t end; (end = text.find("\nBEGIN ", from + 1)) != std::string::npos; from = end) {
        work.exec(text.substr(from, end - from));
      }
      work.exec(text.substr(from));
    }
    const std::string rows = "SELECT count(*)::text || (SELECT count(*) FROM transactions)::text FROM relation_tuples";
    const std::string before = database->execute(rows);
    REQUIRE(migrate_database({.uri = database->uri()}, {}).ok());
    CHECK(database->execute(rows) == before);
    CHECK(database->execute("SELECT count(*) FROM migrations") == "10");
  }

  TEST_CASE("migrations: a server that never answers is given up in seconds, or at once when asked to stop") {
    testing::SilentServer server;
    MigrationSettings settings;
    settings.uri = fmt::format("postgres://u@127.0.0.1:{}/d", server.port());
    settings.connect_timeout = Duration(300);
    const auto begin = std::chrono::steady_clock::now();
    CHECK(migrate_database(settings, {}).code() == StatusCode::kUnavailable);
    settings.connect_timeout = Duration(60'000);
    std::stop_source stop;
    const std::jthread stopper([&] { stop.request_stop(); });
    CHECK(migrate_database(settings, stop.get_token()).code() == StatusCode::kCancelled);
    CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds(10));
  }

  TEST_CASE("migrations: a wait behind somebody's transaction ends when asked to stop, in the server too") {
    HG_POSTGRES(database);
    REQUIRE(migrate_database({.uri = database->uri()}, {}).ok());
    database->execute("DROP INDEX headgate_attributes_expired");
    pqxx::connection holder(database->uri());
    pqxx::work transaction(holder);
    transaction.exec(
        "INSERT INTO attributes (tenant_id, entity_type, entity_id, attribute, value) VALUES ('t1', 'a', 'b', 'c', "
        "'{}')");
    const std::string waiting =
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'headgate-migration' AND wait_event_type = "
        "'Lock'";
    std::stop_source stop;
    auto ended =
        std::async(std::launch::async, [&] { return migrate_database({.uri = database->uri()}, stop.get_token()); });
    REQUIRE(testing::wait_until([&] { return database->execute(waiting) == "1"; }));
    stop.request_stop();
    CHECK(ended.get().code() == StatusCode::kCancelled);
    CHECK(testing::wait_until([&] { return database->execute(waiting) == "0"; }));
  }

  TEST_CASE("migrations: a second installation in one database is refused, as long as the first is there") {
    HG_POSTGRES(database);
    if (database->uri().find("://") == std::string::npos) HG_SKIP("the server is not named by a uri");
    REQUIRE(migrate_database({.uri = database->uri()}, {}).ok());
    database->execute("CREATE SCHEMA other");
    const std::string sign = database->uri().find('?') == std::string::npos ? "?" : "&";
    const std::string uri = database->uri() + sign + "options=-csearch_path%3Dother";
    const Status second = migrate_database({.uri = uri}, {});
    CHECK(second.code() == StatusCode::kFailedPrecondition);
    CHECK(message_of(second).find("schema public") != std::string::npos);
    CHECK(migrate_database({.uri = database->uri()}, {}).ok());
    database->execute("DROP SCHEMA headgate CASCADE");
    database->execute("DROP TABLE relation_tuples");
    CHECK(migrate_database({.uri = uri}, {}).ok());
  }

  TEST_CASE("migrations: a database that was never prepared does not pass the check") {
    HG_POSTGRES(database);
    pqxx::connection connection(database->uri());
    CHECK(check_database(connection).code() == StatusCode::kFailedPrecondition);
    REQUIRE(migrate_database({.uri = database->uri()}, {}).ok());
    CHECK(check_database(connection).ok());
  }

  TEST_CASE("migrations: a database of the version before learns who is there, and takes nobody for new") {
    HG_POSTGRES(database);
    REQUIRE(migrate_database({.uri = database->uri()}, {}).ok());
    database->execute("DROP TABLE headgate.tenant_life, headgate.tenants_known");
    database->execute("DELETE FROM headgate.migrations WHERE version = 2");
    database->execute("INSERT INTO headgate.gc_floors (tenant_id, floor) VALUES ('t1', '5')");
    database->execute("INSERT INTO tenants (id) VALUES ('a')");
    database->execute(
        "INSERT INTO schema_definitions (tenant_id, name, version, serialized_definition) VALUES"
        " ('a', 'user', '00000000000000000001', ''), ('a', 'user', '00000000000000000002', '')");
    pqxx::connection connection(database->uri());
    CHECK(check_database(connection).ok());
    REQUIRE(migrate_database({.uri = database->uri()}, {}).ok());
    CHECK(database->execute("SELECT string_agg(version::text, ' ' ORDER BY version) FROM headgate.migrations") ==
          "1 2");
    CHECK(database->execute("SELECT floor FROM headgate.gc_floors") == "5");
    CHECK(database->execute("SELECT string_agg(tenant_id || '/' || schema_version, ' ' ORDER BY tenant_id)"
                            " FROM headgate.tenants_known") == "a/00000000000000000002 t1/");
    CHECK(database->execute("SELECT count(*) FROM headgate.tenant_life") == "0");
  }

  TEST_CASE("migrations: a role that may not create the schema is told who must, and then has enough") {
    HG_OWN_POSTGRES(database);
    const std::string role = "limited_" + database->name();
    const std::string uri = std::regex_replace(database->uri(), std::regex("//postgres@"), "//" + role + "@");
    REQUIRE(uri != database->uri());
    database->execute("CREATE ROLE " + role + " LOGIN");
    database->execute("GRANT USAGE, CREATE ON SCHEMA public TO " + role);
    const Status refused = migrate_database({.uri = uri}, {});
    CHECK(refused.code() == StatusCode::kFailedPrecondition);
    CHECK(message_of(refused).find("CREATE SCHEMA headgate AUTHORIZATION " + role) != std::string::npos);
    database->execute("CREATE SCHEMA headgate");
    const Status no_tables = migrate_database({.uri = uri}, {});
    CHECK(no_tables.code() == StatusCode::kFailedPrecondition);
    CHECK(message_of(no_tables).find("GRANT USAGE ON SCHEMA headgate TO " + role) != std::string::npos);
    database->execute("GRANT USAGE ON SCHEMA headgate TO " + role);
    CHECK(message_of(migrate_database({.uri = uri}, {})).find("GRANT USAGE, CREATE ON SCHEMA headgate TO " + role) !=
          std::string::npos);
    database->execute("GRANT USAGE, CREATE ON SCHEMA headgate TO " + role);
    CHECK(migrate_database({.uri = uri}, {}).ok());
    // What is there is not made again, so the right to make it may go.
    database->execute("REVOKE CREATE ON SCHEMA headgate FROM " + role);
    CHECK(migrate_database({.uri = uri}, {}).ok());
    // Without the right to the newest step the engine still serves.
    database->execute("DROP TABLE headgate.tenant_life, headgate.tenants_known");
    CHECK(migrate_database({.uri = uri}, {}).ok());
    CHECK(database->execute("SELECT to_regclass('headgate.tenant_life')::text") == "");
    // Tables of another role: the index is the owner's to make.
    database->execute("DROP INDEX headgate_attributes_expired");
    database->execute("ALTER TABLE attributes OWNER TO postgres");
    const Status no_rights = migrate_database({.uri = uri}, {});
    CHECK(message_of(no_rights).find("GRANT SELECT, INSERT, UPDATE, DELETE ON attributes TO " + role) !=
          std::string::npos);
    database->execute("GRANT SELECT, INSERT, UPDATE, DELETE ON attributes TO " + role);
    database->execute("GRANT USAGE ON SEQUENCE attributes_id_seq TO " + role);
    const Status no_index = migrate_database({.uri = uri}, {});
    CHECK(no_index.code() == StatusCode::kFailedPrecondition);
    CHECK(message_of(no_index).find("CREATE INDEX CONCURRENTLY headgate_attributes_expired") != std::string::npos);
    database->execute("DROP OWNED BY " + role);
    database->execute("DROP ROLE " + role);
  }
}

}  // namespace
}  // namespace headgate::engine
