// A database that gives the engine few connections, or none for a while: it works with what it gets, waits the rest
// out, says why, and goes on by itself.
#include <atomic>
#include <pqxx/pqxx>
#include <thread>

#include "tests/robustness/fleet.h"
#include "tests/support/postgres_server.h"

TEST_SUITE("robustness/few_connections") {
  using namespace headgate::testing;
  using namespace std::chrono_literals;

  // A role of its own that owns the database, so that only its limit is in its way.
  struct Role {
    explicit Role(const PostgresDatabase& given, int limit) : database(given), name("few_" + given.name()) {
      database.execute("CREATE ROLE " + name + " LOGIN");
      database.execute("ALTER DATABASE " + database.name() + " OWNER TO " + name);
      database.execute("GRANT ALL ON SCHEMA public TO " + name);
      allow(limit);
    }
    ~Role() {
      end_sessions();
      database.execute("REASSIGN OWNED BY " + name + " TO CURRENT_USER");
      database.execute("DROP OWNED BY " + name);
      database.execute("DROP ROLE " + name);
    }
    void allow(int limit) const {
      database.execute("ALTER ROLE " + name + " CONNECTION LIMIT " + std::to_string(limit));
    }
    void end_sessions() const {
      database.execute("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = '" + name + "'");
    }
    std::string uri() const {
      std::string uri = database.uri();
      const size_t user = uri.find("://") + 3, end = uri.find('@', user);
      return uri.replace(user, end - user, name);
    }

    const PostgresDatabase& database;
    const std::string name;
  };

  std::string status_of(const Pod& pod) { return http_get(pod.program.admin_port(), "/status").value_or(""); }

  bool reads(EngineClient & client) {
    try {
      return !client.tuples_at("t", "").empty();
    } catch (const std::runtime_error&) {
      return false;
    }
  }

  // Writers at once, each of a number of tuples, which read between; returns how many calls succeeded.
  int write_at_once(EngineClient & client, int writers, int writes) {
    std::atomic<int> good = 0;
    {
      std::vector<std::jthread> threads;
      for (int writer = 0; writer < writers; ++writer) {
        threads.emplace_back([&, writer] {
          for (int i = 0; i < writes; ++i) {
            const std::string id = std::to_string(writer) + "_" + std::to_string(i);
            good += client.write("t", {tuple_of("doc:" + id + "#owner@user:a")}).status.ok();
            good += reads(client);
          }
        });
      }
    }
    return good;
  }

  void make_tenant(EngineClient & client) {
    client.create_tenant("t", "entity user {} entity doc { relation owner @user }");
  }

  TEST_CASE("few connections: a role with five of them carries writers, readers and a stream") {
    HG_POSTGRES(database);
    const Role role(*database, 5);
    Fleet fleet(role.uri());
    Pod& pod = fleet.start();
    make_tenant(*pod.client);
    std::optional<WatchReader> under_load;
    WatchReader before(*pod.client, "t", kBeginning);
    const std::jthread opener([&] { under_load.emplace(*pod.client, "t", kBeginning); });
    CHECK(write_at_once(*pod.client, 8, 30) == 480);
    REQUIRE(pod.client->write("t", {tuple_of("doc:last#owner@user:a")}).status.ok());
    CHECK(before.wait_for(241, 20s));
    REQUIRE(wait_until([&] { return under_load.has_value(); }));
    CHECK(under_load->wait_for(241, 20s));
    CHECK(http_get(pod.program.admin_port(), "/readyz").has_value());
  }

  TEST_CASE("few connections: an engine that gets none says why, and goes on when it gets some") {
    HG_POSTGRES(database);
    const Role role(*database, -1);
    Fleet fleet(role.uri());
    Pod& pod = fleet.start({{"feed.outage_grace", "2s"}, {"database.acquire_timeout", "1s"}});
    make_tenant(*pod.client);
    REQUIRE(pod.client->write("t", {tuple_of("doc:1#owner@user:a")}).status.ok());
    for (const int limit : {0, 1, 2}) {
      role.allow(limit);
      role.end_sessions();
      const auto tells = [&] { return status_of(pod).find("too many connections for role") != std::string::npos; };
      // With two, either may be what it gets by: health and feed, or calls.
      if (limit < 2) {
        CHECK(wait_until([&] { return !http_get(pod.program.admin_port(), "/readyz").has_value() && tells(); }, 20s));
        WatchReader mute(*pod.client, "t", kBeginning);
        CHECK(mute.wait_end(20s));
        CHECK(mute.status().error_code() == grpc::StatusCode::UNAVAILABLE);
      }
      const auto begin = std::chrono::steady_clock::now();
      const bool written = pod.client->write("t", {tuple_of("doc:2#owner@user:a")}).status.ok();
      CHECK(std::chrono::steady_clock::now() - begin < 15s);
      // Ready, and no write goes through: that must not last.
      if (!written) {
        CHECK(wait_until(
            [&] {
              return !http_get(pod.program.admin_port(), "/readyz").has_value() ||
                     pod.client->write("t", {tuple_of("doc:2#owner@user:a")}).status.ok();
            },
            20s));
      }
      role.allow(-1);
      CHECK(wait_until([&] { return http_get(pod.program.admin_port(), "/readyz").has_value(); }, 20s));
      CHECK(wait_until([&] { return pod.client->write("t", {tuple_of("doc:3#owner@user:a")}).status.ok(); }, 20s));
      WatchReader reader(*pod.client, "t", kBeginning);
      CHECK(reader.wait_for(2, 20s));
    }
  }

  TEST_CASE("few connections: a server that others have filled is waited for, also at the start") {
    if (postgres_binaries().empty()) HG_SKIP("no PostgreSQL server binaries (initdb, postgres) on this machine");
    const TempFolder folder("headgate-few");
    PostgresServer server(folder.path(), {"max_connections=20", "superuser_reserved_connections=3"});
    server.start();
    {
      pqxx::connection admin(server.uri());
      pqxx::nontransaction(admin).exec(
          "CREATE ROLE few LOGIN; CREATE ROLE crowd LOGIN; GRANT ALL ON SCHEMA public TO few");
      pqxx::nontransaction(admin).exec("GRANT CREATE ON DATABASE postgres TO few");
    }
    const auto uri_of = [&](const std::string& role) {
      std::string uri = server.uri();
      const size_t user = uri.find("://") + 3;
      return uri.replace(user, uri.find('@', user) - user, role);
    };
    std::vector<std::unique_ptr<pqxx::connection>> crowd;
    const auto fill = [&] {
      try {
        while (crowd.size() < 40) crowd.push_back(std::make_unique<pqxx::connection>(uri_of("crowd")));
      } catch (const pqxx::broken_connection&) {
      }
    };
    fill();
    Fleet fleet(uri_of("few"));
    std::atomic<bool> told = false;
    std::jthread leaves([&] {
      const auto log = [&] { return read_file(fleet.folder() + "/engine1.log"); };
      told = wait_until([&] { return log().find("53300") != std::string::npos; }, 20s);
      crowd.clear();
    });
    Pod& pod = fleet.start({{"database.acquire_timeout", "1s"}});
    leaves.join();
    CHECK(told);
    make_tenant(*pod.client);
    // The crowd takes every place that gets free, then leaves again.
    const auto write = [&] { return pod.client->write("t", {tuple_of("doc:1#owner@user:a")}).status.ok(); };
    REQUIRE(write());
    fill();
    pqxx::connection admin(server.uri());
    pqxx::nontransaction(admin).exec(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = 'few'");
    fill();
    CHECK(wait_until([&] { return !http_get(pod.program.admin_port(), "/readyz").has_value() || write(); }, 20s));
    crowd.clear();
    CHECK(wait_until([&] { return http_get(pod.program.admin_port(), "/readyz").has_value() && write(); }, 20s));
  }
}
