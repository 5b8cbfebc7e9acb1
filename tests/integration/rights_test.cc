// Roles of PostgreSQL with exactly the rights that docs/rights.md lists: from the first start over a restart to
// recovery, and what a program says at its first start when one of them is missing.
#include <nlohmann/json.hpp>
#include <regex>
#include <sstream>

#include "tests/support/delivery.h"
#include "tests/support/engine_stubs.h"
#include "tests/support/world.h"

TEST_SUITE("integration/rights") {
  using namespace headgate::testing;
  using namespace std::chrono_literals;

  // A database with a role that may do nothing in it but what everybody may.
  struct LimitedDatabase {
    std::unique_ptr<PostgresDatabase> database = PostgresDatabase::create_on_own_server();
    TempFolder folder{"headgate-rights"};
    std::string role;
    std::string uri;

    LimitedDatabase() {
      if (database == nullptr) return;
      role = "limited_" + database->name();
      uri = std::regex_replace(database->uri(), std::regex("//postgres@"), "//" + role + "@");
      database->execute("CREATE ROLE " + role + " LOGIN");
    }
    ~LimitedDatabase() {
      if (database == nullptr) return;
      database->disconnect_all();
      database->execute("DROP OWNED BY " + role);
      database->execute("DROP ROLE " + role);
    }
    // As the administrator, what the program prints. "" or what psql says.
    std::string prepare(const std::string& sql) {
      write_file(folder.path() + "/prepare.sql", sql);
      const std::string log = folder.path() + "/psql";
      Process psql(
          {.argv = {"psql", "-q", "-v", "ON_ERROR_STOP=1", "-d", database->uri(), "-f", folder.path() + "/prepare.sql"},
           .log_file = log});
      return psql.wait(20s) && psql.exit_code() == 0 ? "" : "psql failed: " + read_file(log);
    }
  };

  std::string sql_of(const std::string& program, const std::string& yaml) {
    TempFolder folder;
    const std::string config = folder.path() + "/config.yaml", log = folder.path() + "/sql";
    write_file(config, yaml);
    Process print({.argv = {program, "--print-sql", "--config", config}, .log_file = log});
    REQUIRE(print.wait(20s));
    REQUIRE_MESSAGE(print.exit_code() == 0, read_file(log));
    return read_file(log);
  }

  // The lines of SQL that grant something on a table or sequence, one right each.
  std::vector<std::pair<std::string, std::string>> grants_in(const std::string& sql) {
    std::vector<std::pair<std::string, std::string>> grants;
    const std::regex line(R"(\nGRANT ([A-Z, ]+) ON ((?:SEQUENCE )?[a-z_.]+) TO )");
    for (std::sregex_iterator it(sql.begin(), sql.end(), line), end; it != end; ++it) {
      std::istringstream rights((*it)[1].str());
      for (std::string right; std::getline(rights, right, ',');) {
        grants.emplace_back(right.substr(right.find_first_not_of(' ')), (*it)[2].str());
      }
    }
    return grants;
  }

  // Ends by itself, and its log.
  std::string refused(EngineProgram & engine) {
    engine.launch();
    REQUIRE(engine.wait(20s));
    return read_file(engine.log_file());
  }

  // Everything that an engine does, by its API.
  void use(EngineProgram & engine, const std::string& tenant) {
    EngineClient client(engine.address());
    client.create_tenant(tenant, kSchema);
    const WriteAnswer first =
        client.write(tenant, {tuple_of("doc:1#owner@user:a")}, {make_integer("doc", "1", "size", 1)});
    REQUIRE_MESSAGE(first.status.ok(), first.status.error_message());
    WatchReader reader(client, tenant, first.token);
    REQUIRE(reader.wait_open(10s));
    CHECK(client.write(tenant, {tuple_of("doc:2#owner@user:b")}, {make_integer("doc", "1", "size", 2)}).status.ok());
    CHECK(client.remove(tenant, "doc", "1").status.ok());
    CHECK(reader.wait_for(2, 10s));
    CHECK(client.tuples_at(tenant, "") == std::vector<std::string>{"doc:2#owner@user:b"});
    {
      grpc::ClientContext context;
      base::v1::BundleWriteRequest request;
      base::v1::BundleWriteResponse response;
      request.set_tenant_id(tenant);
      base::v1::DataBundle& bundle = *request.add_bundles();
      bundle.set_name("b");
      bundle.add_arguments("id");
      bundle.add_operations()->add_relationships_write("doc:{{.id}}#owner@user:c");
      CHECK(client.stubs().bundle->Write(&context, request, &response).ok());
    }
    {
      grpc::ClientContext context;
      base::v1::BundleDeleteRequest request;
      base::v1::BundleDeleteResponse response;
      request.set_tenant_id(tenant);
      request.set_name("b");
      CHECK(client.stubs().bundle->Delete(&context, request, &response).ok());
    }
    grpc::ClientContext context;
    base::v1::TenantDeleteRequest request;
    base::v1::TenantDeleteResponse response;
    request.set_id(tenant);
    const grpc::Status deleted = client.stubs().tenancy->Delete(&context, request, &response);
    CHECK_MESSAGE(deleted.ok(), deleted.error_message());
  }

  constexpr const char* kCollects = "gc:\n  enabled: true\n  interval: 1s\n  window: 1m\n";

  TEST_CASE("engine: Permify's own role works from the first start, once somebody has made one schema for it") {
    LimitedDatabase limited;
    if (limited.database == nullptr) HG_SKIP("no PostgreSQL server binaries on this machine");
    EngineProgram engine(limited.folder.path(), {.database_uri = limited.uri});
    CHECK(refused(engine).find("GRANT USAGE, CREATE ON SCHEMA public TO " + limited.role) != std::string::npos);
    limited.database->execute("GRANT USAGE, CREATE ON SCHEMA public TO " + limited.role);
    const std::string make = "CREATE SCHEMA headgate AUTHORIZATION " + limited.role;
    const std::string log = refused(engine);
    CHECK(log.find(make) != std::string::npos);
    CHECK(log.find("--print-sql") != std::string::npos);
    CHECK(log.find("\\u000a") == std::string::npos);
    limited.database->execute(make);
    engine.start();
    use(engine, "a");
    CHECK(engine.stop() == 0);
    engine.start();
    use(engine, "b");
  }

  TEST_CASE("engine: the rights that --print-sql grants are enough, from the first start over a restart to recovery") {
    LimitedDatabase limited;
    if (limited.database == nullptr) HG_SKIP("no PostgreSQL server binaries on this machine");
    if (find_program("psql").empty()) HG_SKIP("no psql on this machine");
    const std::string sql = sql_of(HEADGATE_ENGINE_BINARY, "database: {uri: \"" + limited.uri + "\"}\n");
    REQUIRE(limited.prepare(sql) == "");
    CHECK(limited.prepare(sql) == "");
    EngineProgram engine(limited.folder.path(), {.database_uri = limited.uri, .more_yaml = kCollects});
    engine.start();
    use(engine, "a");
    // Something to collect.
    limited.database->execute("UPDATE transactions SET \"timestamp\" = \"timestamp\" - interval '1 hour'");
    EngineClient client(engine.address());
    client.create_tenant("old", kSchema);
    for (int i = 0; i < 3; ++i) CHECK(client.write("old", {tuple_of("doc:1#owner@user:a")}).status.ok());
    CHECK(client.remove("old", "doc", "1").status.ok());
    CHECK(client.write("old", {tuple_of("doc:2#owner@user:a")}).status.ok());
    limited.database->execute("UPDATE transactions SET \"timestamp\" = \"timestamp\" - interval '1 hour'");
    CHECK(wait_until(
        [&] { return limited.database->execute("SELECT count(*) FROM transactions WHERE tenant_id = 'old'") == "1"; },
        20s));
    limited.database->disconnect_all();
    CHECK(wait_until([&] { return client.write("old", {tuple_of("doc:3#owner@user:a")}).status.ok(); }, 20s));
    CHECK(engine.stop() == 0);
    engine.start();
    use(engine, "b");
    const std::string log = read_file(engine.log_file());
    CHECK_MESSAGE(log.find("permission denied") == std::string::npos, log);
    CHECK(limited.database->execute("SELECT count(*) FROM headgate.tenant_life WHERE late") == "0");
  }

  TEST_CASE("engine: one right less is told at the first start, with the statement that grants it") {
    LimitedDatabase limited;
    if (limited.database == nullptr) HG_SKIP("no PostgreSQL server binaries on this machine");
    if (find_program("psql").empty()) HG_SKIP("no psql on this machine");
    const std::string sql = sql_of(HEADGATE_ENGINE_BINARY, "database: {uri: \"" + limited.uri + "\"}\n");
    REQUIRE(limited.prepare(sql) == "");
    const auto grants = grants_in(sql);
    REQUIRE(grants.size() > 40);
    EngineProgram engine(limited.folder.path(), {.database_uri = limited.uri, .more_yaml = kCollects});
    for (const auto& [right, object] : grants) {
      const std::string statement = right + " ON " + object;
      CAPTURE(statement);
      limited.database->execute("REVOKE " + statement + " FROM " + limited.role);
      const bool lives = object == "headgate.tenants_known" || (object == "headgate.tenant_life" && right == "INSERT");
      if (lives) {
        engine.start();
        CHECK(read_file(engine.log_file()).find("tenant_lives_not_recorded") != std::string::npos);
        engine.kill();
      }
      const std::string log = lives ? read_file(engine.log_file()) : refused(engine);
      // Of a sequence with the name of its schema.
      const std::string name = object.substr(object.find(' ') == std::string::npos ? 0 : object.find(' ') + 1);
      const std::regex told("GRANT " + right + " ON (SEQUENCE )?(public\\.)?" + name + " TO " + limited.role);
      CHECK_MESSAGE(std::regex_search(log, told), log);
      limited.database->execute("GRANT " + statement + " TO " + limited.role);
    }
    for (const char* schema : {"public", "headgate"}) {
      limited.database->execute(std::string("REVOKE USAGE ON SCHEMA ") + schema + " FROM PUBLIC, " + limited.role);
      CHECK(refused(engine).find(std::string("GRANT USAGE ON SCHEMA ") + schema + " TO " + limited.role) !=
            std::string::npos);
      limited.database->execute(std::string("GRANT USAGE ON SCHEMA ") + schema + " TO " + limited.role);
    }
    engine.start();
    use(engine, "a");
  }

  TEST_CASE(
      "token store: the rights that --print-sql grants are enough, and one that is missing is named and waited for") {
    LimitedDatabase limited;
    if (limited.database == nullptr) HG_SKIP("no PostgreSQL server binaries on this machine");
    if (find_program("psql").empty()) HG_SKIP("no psql on this machine");
    HG_WORLD(world, {.sinks = {"file"}, .subscribe = {"file"}});
    world->create_tenants({"a"});
    const std::string yaml = "upstream:\n  address: " + world->engine().address() +
                             "\ntenants:\n  start: earliest\ntokens:\n  kind: postgres\n  postgres:\n    uri: \"" +
                             limited.uri + "\"\nsinks:\n  - {name: file, kind: file, path: " + world->folder() +
                             "/events.jsonl}\n";
    const std::string sql = sql_of(HEADGATE_RELAY_BINARY, yaml);
    RelayProgram relay(world->folder(), "limited", yaml);
    const auto waits_for = [&](const std::string& statement) {
      return wait_until(
          [&] {
            const auto page = http_get(relay.admin_port(), "/status");
            return page &&
                   nlohmann::json::parse(*page)["phase_error"].get<std::string>().find(statement) != std::string::npos;
          },
          20s);
    };
    relay.launch();
    CHECK(waits_for("CREATE SCHEMA headgate AUTHORIZATION " + limited.role));
    REQUIRE(limited.prepare(sql) == "");
    relay.await_ready();
    CHECK(world->client().write("a", {tuple_of("doc:1#owner@user:a")}).status.ok());
    REQUIRE(world->subscriber("file").wait_for(1, 20s));
    CHECK(relay.stop() == 0);
    for (const auto& [right, object] : grants_in(sql)) {
      const std::string statement = right + " ON " + object;
      CAPTURE(statement);
      limited.database->execute("REVOKE " + right + " ON " + object + " FROM " + limited.role);
      relay.launch();
      CHECK(waits_for("GRANT " + right + " ON " + object + " TO " + limited.role));
      limited.database->execute("GRANT " + right + " ON " + object + " TO " + limited.role);
      relay.await_ready();
      CHECK(relay.stop() == 0);
    }
    relay.start();
    limited.database->disconnect_all();
    CHECK(world->client().write("a", {tuple_of("doc:2#owner@user:a")}).status.ok());
    REQUIRE(world->subscriber("file").wait_for(2, 20s));
    CHECK(relay.stop() == 0);
    CHECK(check_sink(read_truth(world->database_uri()), world->subscriber("file").received(), Repeats::kNone) == "");
  }
}
