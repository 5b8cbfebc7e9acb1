// Token stores that lose what they held: while the relay is down, and under a relay that runs.
#include <filesystem>
#include <nlohmann/json.hpp>
#include <pqxx/pqxx>

#include "tests/support/world.h"

TEST_SUITE("integration/token_store") {
  using namespace headgate::testing;
  using namespace std::chrono_literals;
  using nlohmann::json;

  // Sinks that remember the highest epoch that has written to them.
  const std::set<std::string> kFencing = {"kafka", "nats_jetstream", "redis_streams"};

  void write(World & world, const std::string& tuple) {
    const WriteAnswer answer = world.client().write("a", {tuple_of(tuple)});
    REQUIRE_MESSAGE(answer.status.ok(), answer.status.error_message());
  }

  void lose_store(World & world, const std::string& kind) {
    if (kind == "sqlite") {
      for (const char* end : {"", "-wal"}) std::filesystem::remove(world.token_store_path() + end);
    } else if (kind == "postgres") {
      pqxx::connection connection(world.database_uri());
      pqxx::nontransaction(connection).exec("DELETE FROM headgate.relay_owners; DELETE FROM headgate.relay_cursors");
    } else {
      Process drop(
          {.argv = {"redis-cli", "-p", std::to_string(world.redis().port()), "EVAL",
                    "for _, key in ipairs(redis.call('KEYS', '*:relay:*')) do redis.call('DEL', key) end", "0"}});
      REQUIRE(drop.wait(5s));
      REQUIRE(drop.exit_code() == 0);
    }
  }

  // Writes until every sink has had one more event: a relay without cursors starts at the head.
  void deliver_more(World & world) {
    std::map<std::string, size_t> before;
    for (const auto& [sink, subscriber] : world.subscribers()) before[sink] = subscriber->count();
    static int number = 0;
    const bool all = wait_until(
        [&] {
          write(world, "doc:" + std::to_string(++number) + "#owner@user:u1");
          for (const auto& [sink, subscriber] : world.subscribers()) {
            if (!subscriber->wait_for(before[sink] + 1, 500ms)) return false;
          }
          return true;
        },
        30s);
    CHECK_MESSAGE(all, world.relay().status());
  }

  void check_no_sink_is_fenced(World & world) {
    const json status = json::parse(world.relay().status());
    CHECK(status["fenced"] == false);
    for (const json& sink : status["sinks"]) CHECK_MESSAGE(sink["state"] != "fenced", sink.dump());
  }

  void check_lost_store(const std::string& kind) {
    HG_WORLD(world, {.sinks = kFencing,
                     .subscribe = kFencing,
                     .tokens = kind,
                     .sink_yaml = {{"kafka", "    mode: transactional\n"}}});
    world->create_tenants({"a"});
    world->relay().start();
    deliver_more(*world);
    // Where epochs count owners, the store that begins anew is one behind now.
    CHECK(world->relay().stop() == 0);
    world->relay().start();
    deliver_more(*world);
    CHECK(world->relay().stop() == 0);
    lose_store(*world, kind);
    world->relay().start();
    deliver_more(*world);
    check_no_sink_is_fenced(*world);
    lose_store(*world, kind);
    deliver_more(*world);
    deliver_more(*world);
    check_no_sink_is_fenced(*world);
    CHECK(world->relay().stop() == 0);
  }

  TEST_CASE("token store: a relay whose sqlite file was lost is no stale owner for its sinks") {
    check_lost_store("sqlite");
  }
  TEST_CASE("token store: nor one whose tables in PostgreSQL were emptied") { check_lost_store("postgres"); }
  TEST_CASE("token store: nor one whose keys in Redis were lost") { check_lost_store("redis"); }

  TEST_CASE("token store: a file that is replaced by an older copy under the relay costs nothing, also after a kill") {
    HG_WORLD(world, {.sinks = {"redis_pubsub"}, .subscribe = {"redis_pubsub"}});
    world->create_tenants({"a"});
    world->relay().start();
    Subscriber& subscriber = world->subscriber("redis_pubsub");
    deliver_more(*world);
    const std::string path = world->token_store_path();
    const std::string older = path + ".older";
    std::filesystem::copy_file(path, older);
    for (int i = 0; i < 3; ++i) deliver_more(*world);
    std::filesystem::rename(older, path);
    deliver_more(*world);
    REQUIRE(wait_until([&] { return world->relay().log_tail().find("token_store_restored") != std::string::npos; }));
    const json status = json::parse(world->relay().status());
    const size_t before = subscriber.received().size();
    REQUIRE(wait_until([&] { return json::parse(world->relay().status())["sinks"][0]["uncommitted"] == 0; }));
    world->relay().kill();
    world->relay().start();
    write(*world, "doc:last#owner@user:u1");
    REQUIRE(wait_until([&] { return subscriber.received().size() == before + 2; }));
    // A sink that cannot tell its own place: only the store knows the numbers, and nothing of before comes again.
    const std::vector<Received> all = subscriber.received();
    REQUIRE(all.size() == before + 2);
    for (size_t i = 0; i < before; ++i) CHECK(all[i].sequence == all[0].sequence + i);
    CHECK(all[before].reason == "RELAY_INTERRUPTED");
    CHECK(all[before].previous_token == all[before - 1].token);
    CHECK(all[before + 1].sequence == all[before].sequence + 1);
  }
}
