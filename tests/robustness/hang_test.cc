// A connection to the database that hangs: the feed breaks it after feed.hang_max and goes on over another one.
#include <atomic>
#include <pqxx/pqxx>

#include "tests/robustness/pressure.h"

TEST_SUITE("robustness/hang") {
  using namespace headgate::testing;
  using namespace std::chrono_literals;

  // Of the connection that follows the database: no other one of the feed asks all the time.
  pid_t follower_of(World & world) {
    pqxx::connection connection(world.database_uri());
    const pqxx::result rows = pqxx::nontransaction(connection)
                                  .exec(
                                      "SELECT pid FROM pg_stat_activity WHERE application_name = 'headgate-feed' AND"
                                      " datname = current_database() AND query LIKE '%pg_current_snapshot()%' "
                                      "ORDER BY query_start DESC LIMIT 1");
    return rows.size() == 1 ? rows[0][0].as<int>() : 0;
  }

  // Whatever happens: a backend that stands still would keep the database from being dropped.
  struct Continue {
    ~Continue() {
      if (pid != 0) ::kill(pid, SIGCONT);
    }
    pid_t pid = 0;
  };

  // False when it cannot be stopped without stopping others, because it holds something of the server's.
  bool stop_alone(World & world, pid_t pid) {
    if (::kill(pid, SIGSTOP) != 0) return false;
    std::atomic<bool> answered = false;
    std::jthread other([&] {
      pqxx::connection connection(world.database_uri());
      pqxx::nontransaction(connection).exec("SELECT pg_current_xact_id()");
      answered = true;
    });
    const bool alone = wait_until([&] { return answered.load(); }, 1s);
    if (!alone) ::kill(pid, SIGCONT);
    return alone;
  }

  TEST_CASE("hang: a stream goes on within seconds although the feed's connection does not answer any more") {
    HG_WORLD(world, {.sinks = {}, .engine_yaml = "feed:\n  hang_max: 1s\n"});
    world->create_tenants({"t"});
    WatchReader reader(world->client(), "t", "");
    REQUIRE(reader.wait_open(5s));
    REQUIRE(world->client().write("t", {tuple_of("doc:1#owner@user:a")}).status.ok());
    REQUIRE(reader.wait_for(1, 5s));
    Continue at_end;
    pid_t& pid = at_end.pid;
    REQUIRE(wait_until([&] { return (pid = follower_of(*world)) != 0; }));
    if (::kill(pid, 0) != 0) HG_SKIP("this user may not stop the server's processes");
    REQUIRE(wait_until([&] { return stop_alone(*world, pid); }));
    const auto begin = std::chrono::steady_clock::now();
    REQUIRE(world->client().write("t", {tuple_of("doc:2#owner@user:a")}).status.ok());
    CHECK(reader.wait_for(2, 15s));
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
    MESSAGE("the stream stood still for " << took.count() << " s");
    CHECK(took > 500ms);
    CHECK(took < 6s);
    ::kill(pid, SIGCONT);
    CHECK_FALSE(reader.wait_end(0s));
    CHECK(metric(world->engine().admin_port(), "headgate_engine_feed_reconnects_total") == 1);
    CHECK(read_file(world->engine().log_file()).find("feed_lost_database") != std::string::npos);
  }
}
