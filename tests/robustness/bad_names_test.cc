// Names that mean something to NATS, Kafka, Redis, SQL, JSON or HTTP: an existing database may hold any of them. Each
// tenant's events pass every sink and are read back, and no two tenants meet in one subject, topic or key.
#include <pqxx/pqxx>

#include "tests/robustness/jetstream_admin.h"
#include "tests/robustness/kafka_admin.h"
#include "tests/robustness/pressure.h"
#include "tests/support/delivery.h"

TEST_SUITE("robustness/bad_names") {
  using namespace headgate::testing;
  using namespace std::chrono_literals;
  using nlohmann::json;

  std::string repeated(const std::string& text, size_t times) {
    std::string all;
    for (size_t i = 0; i < times; ++i) all += text;
    return all;
  }

  const std::vector<std::string> kNames = {"a.b",
                                           "A.b",
                                           "a_2Eb",
                                           "a%2Eb",
                                           "a%252Eb",
                                           "a b",
                                           "a*b",
                                           "*",
                                           ">",
                                           "a.>",
                                           ".",
                                           "..",
                                           "{}",
                                           "{a}",
                                           "}{",
                                           "{tenant}",
                                           "a:b",
                                           "a/b",
                                           "a\\b",
                                           "%",
                                           "_",
                                           "-",
                                           " ",
                                           "\t",
                                           "a\nb",
                                           "a\r\nb: c",
                                           "\x01\x7f",
                                           "'",
                                           "\"",
                                           "\",\"",
                                           "$JS.API.x",
                                           "_INBOX.x",
                                           "a;b",
                                           "a?b&c=d#e",
                                           "\xc3\xbc",
                                           "u\xcc\x88",
                                           "\xe6\x97\xa5\xe6\x9c\xac",
                                           "\xf0\x9f\x98\x80",
                                           "NULL",
                                           repeated("x", 128),
                                           repeated("\xc3\xa9", 64),
                                           repeated(" ", 128),
                                           repeated("x", 127) + "y"};
  constexpr int kEach = 3;

  // Transactions of a tenant whose entities carry its name too.
  void write(World & world, const std::string& tenant, int count, const std::string& prefix) {
    pqxx::connection connection(world.database_uri());
    for (int i = 0; i < count; ++i) {
      pqxx::transaction<pqxx::serializable> work(connection);
      work.exec_params("INSERT INTO transactions (tenant_id) VALUES ($1)", tenant);
      work.exec_params(
          "INSERT INTO relation_tuples (entity_type, entity_id, relation, subject_type, subject_id, subject_relation,"
          " created_tx_id, tenant_id) VALUES ($1, $2, 'owner', 'user', $1, '', pg_current_xact_id(), $1)",
          tenant, prefix + std::to_string(i) + tenant);
      work.commit();
    }
  }

  size_t tenants_in_status(const RelayProgram& relay, const std::string& sink) {
    size_t count = 0;
    const json page = json::parse(http_get(relay.admin_port(), "/status?limit=1000").value());
    for (const json& line : page["tenants"]) {
      const std::string tenant = line["tenant"].get<std::string>();
      const bool known = std::find(kNames.begin(), kNames.end(), tenant) != kNames.end();
      CHECK_MESSAGE(known, tenant);
      count += known && line["sink"] == sink && line["state"] == "ok" ? 1 : 0;
    }
    return count;
  }

  TEST_CASE("names: every one passes all sinks unharmed and meets no other, also over a restart") {
    HG_WORLD(world, {});
    for (const std::string& name : kNames) write(*world, name, kEach, "first");
    world->relay().start();
    for (const auto& entry : world->subscribers()) {
      const auto& sink = entry.first;
      const auto& subscriber = entry.second;
      CHECK_MESSAGE(subscriber->wait_for(kNames.size() * kEach, 60s), sink << ": " << subscriber->count());
    }
    for (const std::string& sink : world->sinks()) CHECK(tenants_in_status(world->relay(), sink) == kNames.size());
    CHECK(world->relay().stop() == 0);
    for (const std::string& name : kNames) write(*world, name, 1, "second");
    world->relay().start();
    const Truth truth = read_truth(world->database_uri());
    for (const auto& entry : world->subscribers()) {
      const auto& sink = entry.first;
      const auto& subscriber = entry.second;
      CAPTURE(sink);
      CHECK_MESSAGE(subscriber->wait_for(kNames.size() * (kEach + 1), 60s), subscriber->count());
      CHECK(check_sink(truth, subscriber->received(), Repeats::kNone) == "");
      CHECK(subscriber->faults() == std::vector<std::string>{});
    }
    CHECK(stream_state(world->nats().address(), world->prefix()).subjects == static_cast<int64_t>(kNames.size()));
    const std::string count = "*" + std::to_string(kNames.size());
    CHECK(redis_command(world->redis(), "KEYS " + world->prefix() + ":*:changes") == count);
    CHECK(redis_command(world->redis(), "KEYS " + world->prefix() + ":*:position") == count);
    CHECK(json::parse(world->relay().status())["status"] == "healthy");
  }

  TEST_CASE("topics: one for each tenant, and a tenant whose name is too long for one stops with the reason") {
    HG_WORLD(world, {.sinks = {"kafka"}, .subscribe = {}});
    if (world->kafka().empty()) return;
    const std::string start = world->prefix() + ".each.";
    const auto relay = make_relay(*world, "topics",
                                  {{"kafka", "kafka",
                                    "brokers: " + world->kafka() + "\nprefix: " + world->prefix() +
                                        ".each\ntopic: \"{prefix}.{tenant}\"\ncreate_topics: true\npartitions: 1\n"}});
    const std::vector<std::string> good = {"a.b", "a_2Eb", "a_b", "a b", "*", ">", "{}", ".", "..", "\xc3\xbc", "a\nb"};
    const std::string bad = repeated("\xc3\xa9", 64);
    for (const std::string& name : good) write(*world, name, 1, "d");
    write(*world, bad, 1, "d");
    relay->start();
    // Who is written past the engine has changes and no life.
    REQUIRE(wait_until([&] { return sink_status(*relay, "kafka")["delivered"] == good.size(); }, 60s));
    REQUIRE(wait_until([&] { return sink_status(*relay, "kafka")["stopped_tenants"] == 1; }, 20s));
    CHECK(count_topics(world->kafka(), start) == good.size());
    const json lines = json::parse(http_get(relay->admin_port(), "/status?stopped=1").value())["tenants"];
    REQUIRE(lines.size() == 1);
    CHECK(lines[0]["tenant"] == bad);
    CHECK(lines[0]["state"] == "POISON");
    CHECK(lines[0]["last_error"].get<std::string>().find("a Kafka topic has at most 249") != std::string::npos);

    // Over a restart it keeps nobody else from being served.
    CHECK(relay->stop() == 0);
    for (const std::string& name : good) write(*world, name, 1, "e");
    relay->start();
    CHECK(wait_until([&] { return sink_status(*relay, "kafka")["delivered"] == good.size(); }, 60s));
    CHECK(wait_until([&] { return sink_status(*relay, "kafka")["stopped_tenants"] == 1; }, 20s));
  }
}
