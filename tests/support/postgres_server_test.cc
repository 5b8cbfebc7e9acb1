// What the tests of replaced histories rely on: how each way of losing one looks from the outside.
#include "tests/support/postgres_server.h"

#include <filesystem>

#include "tests/support/engine_session.h"
#include "tests/support/test_main.h"

namespace headgate::testing {

namespace {

struct Cluster {
  TempFolder folder{"headgate-replaced"};
  PostgresServer server{folder.path() + "/primary",
                        {"wal_level=replica", "synchronous_commit=off", "wal_writer_delay=10s"}};
  Cluster() {
    server.start();
    ask("CREATE TABLE seen (n int)");
    ask("CHECKPOINT");
  }
  std::string ask(const std::string& sql) const { return EngineSession(server.uri()).value(sql); }
  void write(int n) const { ask("INSERT INTO seen VALUES (" + std::to_string(n) + ") RETURNING n"); }
  std::string seen() const { return ask("SELECT string_agg(n::text, ' ' ORDER BY n) FROM seen"); }
  std::string timeline() const { return ask("SELECT substr(pg_walfile_name(pg_current_wal_lsn()), 8, 1)"); }
};

}  // namespace

TEST_SUITE("support/postgres_server") {
  // One cluster for all: making one is what takes long.
  TEST_CASE("postgres server: each way to lose history loses what it should, and nothing else") {
    if (postgres_binaries().empty()) HG_SKIP("no PostgreSQL server binaries (initdb, postgres) on this machine");
    Cluster cluster;
    PostgresServer& server = cluster.server;
    cluster.write(1);
    cluster.ask("CHECKPOINT");
    cluster.write(2);
    CHECK(cluster.seen() == "1 2");
    server.crash();
    server.start();
    CHECK(cluster.seen() == "1");

    server.save("running");
    cluster.write(2);
    server.stop();
    server.save("stopped");
    server.put_back("running");
    server.start();
    CHECK(cluster.seen() == "1");
    server.put_back("stopped");
    server.start();
    CHECK(cluster.seen() == "1 2");

    const std::string file = cluster.folder.path() + "/primary/dump.sql";
    server.dump("postgres", file);
    cluster.write(3);
    server.restore("postgres", file);
    CHECK(cluster.seen() == "1 2");
    CHECK(cluster.timeline() == "1");

    for (int i = 0; i < 2; ++i) {
      server.recover_from("running");
      server.start();
      CHECK(cluster.seen() == "1");
      CHECK(cluster.timeline() == "2");
      cluster.write(2);
    }

    const auto standby = PostgresServer::standby_of(server, cluster.folder.path() + "/standby");
    standby->start();
    standby->stop();
    cluster.write(3);
    CHECK(cluster.seen() == "1 2 3");
    server.crash();
    standby->start();
    standby->promote();
    server.take_over(*standby);
    server.start();
    CHECK(cluster.seen() == "1 2");
    CHECK(cluster.timeline() == "3");
  }
}

}  // namespace headgate::testing
