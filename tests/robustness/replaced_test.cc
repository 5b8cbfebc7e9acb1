// The database's history is replaced by another one, in every way that operators know. The tenants concerned, all of
// them and only they, are told; nothing of the new history is lost; and what subscribers hold is what the database
// holds.
#include <fmt/ranges.h>

#include "base/snap_token.h"
#include "tests/robustness/aftermath.h"
#include "tests/robustness/copy.h"
#include "tests/support/engine_session.h"
#include "tests/support/postgres_server.h"

namespace {

using namespace headgate::testing;
using namespace std::chrono_literals;

const std::set<std::string> kSinks = {"file", "nats_jetstream", "redis_streams", "redis_pubsub"};

struct Scene {
  TempFolder folder;
  PostgresServer server;
  std::unique_ptr<World> world;
  int count = 0;

  explicit Scene(const std::vector<std::string>& settings) : server(folder.path(), settings) {
    server.start();
    world = World::create({.sinks = kSinks,
                           .database_uri = server.uri(),
                           .subscribe = kSinks,
                           .upstream_yaml = kQuickUpstream,
                           .sink_yaml = kQuickSinks});
    if (world == nullptr) return;
    world->create_tenants({"calm", "hit"});
    world->relay().start();
  }

  std::string write(const std::string& tenant) {
    WriteAnswer answer;
    const std::string row = "doc:" + std::to_string(++count) + "#owner@user:u";
    REQUIRE_MESSAGE(wait_until(
                        [&] {
                          answer = world->client().write(tenant, {tuple_of(row)});
                          return answer.status.ok();
                        },
                        60s),
                    answer.status.error_message());
    return row;
  }
  void write_many(const std::string& tenant, int times) {
    for (int i = 0; i < times; ++i) write(tenant);
  }
  bool everywhere(const std::string& tenant, const std::string& row) {
    return std::ranges::all_of(world->subscribers(), [&](const auto& entry) {
      return wait_until(
          [&] {
            const auto events = entry.second->received();
            return std::ranges::any_of(events, [&](const Received& event) {
              const auto texts = texts_of(event.changes);
              return event.tenant == tenant && std::ranges::find(texts, "+" + row) != texts.end();
            });
          },
          60s);
    });
  }
  // What follows the last thing that both histories have.
  void write_delivered(int times) {
    std::string row;
    for (int i = 0; i < times; ++i) row = write("hit");
    REQUIRE(everywhere("hit", row));
  }
  void restart_programs(bool running) {
    if (running) return;
    world->engine().start();
    world->relay().start();
  }
  void stop_programs(bool running) {
    if (running) return;
    CHECK(world->relay().stop() == 0);
    CHECK(world->engine().stop() == 0);
  }

  // `told`: the tenants of which events were lost.
  void check(const std::set<std::string>& told) {
    write_many("hit", 5);
    const std::string hit = write("hit"), calm = write("calm");
    REQUIRE(everywhere("hit", hit));
    REQUIRE(everywhere("calm", calm));
    for (const auto& entry : world->subscribers()) {
      const std::string& sink = entry.first;
      const auto& subscriber = entry.second;
      CAPTURE(sink);
      // The end of a snapshot comes a moment behind its rows.
      const auto fault = [&] { return check_copies(subscriber->received(), true, {"calm", "hit"}, world->client()); };
      wait_until([&] { return fault().empty(); }, 20s);
      CHECK(fault() == "");
      const std::vector<Received> events = subscriber->received();
      std::set<std::string> gaps;
      for (const Received& event : events) {
        if (event.is_gap()) gaps.insert(event.tenant);
      }
      CHECK(fmt::format("{}", fmt::join(gaps, " ")) == fmt::format("{}", fmt::join(told, " ")));
    }
  }
};

#define HG_SCENE(...)                                 \
  Scene scene(std::vector<std::string>{__VA_ARGS__}); \
  if (scene.world == nullptr) return

}  // namespace

TEST_SUITE("robustness/replaced") {
  TEST_CASE("crash: commits that PostgreSQL did not flush are lost behind their delivery") {
    HG_SCENE("synchronous_commit=off", "wal_writer_delay=10s", "checkpoint_timeout=1h");
    REQUIRE(scene.everywhere("calm", scene.write("calm")));
    // A commit that waits takes all before it to the disk.
    EngineSession(scene.server.uri()).run("SET synchronous_commit = on; CREATE TABLE flushed ()");
    scene.write_delivered(5);
    scene.server.crash();
    scene.server.start();
    scene.check({"hit"});
  }

  TEST_CASE("volume: the data is put back to an older copy") {
    HG_SCENE();
    REQUIRE(scene.everywhere("calm", scene.write("calm")));
    scene.write_delivered(3);
    scene.server.save("before");
    scene.write_delivered(5);
    bool running = true;
    SUBCASE("while the programs run") {}
    SUBCASE("while they are stopped") { running = false; }
    scene.stop_programs(running);
    scene.server.put_back("before");
    scene.server.start();
    if (!running) {
      // More transactions than were lost, before anybody looks.
      EngineSession session(scene.server.uri());
      for (int i = 0; i < 12; ++i) session.write("hit", "sql-" + std::to_string(i));
    }
    scene.restart_programs(running);
    scene.check({"hit"});
  }

  TEST_CASE("dump: the database is restored into the same cluster") {
    HG_SCENE();
    REQUIRE(scene.everywhere("calm", scene.write("calm")));
    scene.write_delivered(3);
    scene.server.dump("postgres", scene.folder.path() + "/dump");
    scene.write_delivered(5);
    scene.stop_programs(false);
    scene.server.restore("postgres", scene.folder.path() + "/dump");
    scene.restart_programs(false);
    scene.check({"hit"});
  }

  TEST_CASE("recovery: twice from one backup") {
    HG_SCENE();
    REQUIRE(scene.everywhere("calm", scene.write("calm")));
    scene.write_delivered(3);
    scene.server.save("backup");
    for (int round = 0; round < 2; ++round) {
      scene.write_delivered(5);
      scene.stop_programs(false);
      scene.server.recover_from("backup");
      scene.server.start();
      scene.restart_programs(false);
    }
    scene.check({"hit"});
  }

  TEST_CASE("fail-over: to a standby") {
    HG_SCENE("wal_keep_size=64MB");
    REQUIRE(scene.everywhere("calm", scene.write("calm")));
    scene.write_delivered(3);
    const auto standby = PostgresServer::standby_of(scene.server, scene.folder.path() + "/standby");
    standby->start();
    std::set<std::string> told;
    SUBCASE("that had everything") {
      scene.write_delivered(3);
      const std::string all = EngineSession(scene.server.uri()).value("SELECT count(*) FROM transactions");
      REQUIRE(wait_until(
          [&] { return EngineSession(standby->uri()).value("SELECT count(*) FROM transactions") == all; }, 20s));
    }
    SUBCASE("that lagged") {
      CHECK(standby->stop() == 0);
      scene.write_delivered(5);
      // Before the standby is there again: it would fetch what it has missed.
      scene.server.kill();
      standby->start();
      told = {"hit"};
    }
    // It takes the address of the one that is gone; promoted first, so that it has no more to come.
    if (scene.server.running()) scene.server.kill();
    standby->promote();
    scene.server.take_over(*standby);
    scene.server.start();
    scene.check(told);
  }
}
