// Events that are too large: for a Kafka topic that takes less than the relay was told, and transactions that are large
// by themselves, through every sink with its defaults.
#include "tests/robustness/kafka_admin.h"
#include "tests/robustness/pressure.h"
#include "tests/support/delivery.h"
#include "tests/support/engine_session.h"

TEST_SUITE("robustness/limits_kafka") {
  using namespace headgate::testing;
  using namespace std::chrono_literals;
  using nlohmann::json;

  bool holds(const nlohmann::json& text, const std::string& part) {
    return text.get<std::string>().find(part) != std::string::npos;
  }

  std::vector<Received> of_tenant(const Subscriber& subscriber, const std::string& tenant) {
    std::vector<Received> own;
    for (Received& event : subscriber.received()) {
      if (event.tenant == tenant) own.push_back(std::move(event));
    }
    return own;
  }

  TEST_CASE("topic that takes less: the tenant stops with a clear error, all others go on, and nothing is lost") {
    HG_WORLD(world, {.sinks = {"kafka", "redis_streams"}, .subscribe = {}});
    if (world->kafka().empty()) return;
    const std::string topic = world->prefix() + ".small.permission-changes";
    const std::string kafka =
        "brokers: " + world->kafka() + "\nprefix: " + world->prefix() +
        ".small\ncreate_topics: true\npartitions: 2\non_poison: stop\ntopic_config:\n  max.message.bytes: \"20000\"\n";
    const std::string redis = "port: " + std::to_string(world->redis().port()) + "\nprefix: r\n";
    const auto relay = make_relay(*world, "limited", {{"kafka", "kafka", kafka}, {"redis", "redis_streams", redis}});
    const auto in_kafka = subscribe_kafka(world->kafka(), topic);
    const auto in_redis = subscribe_redis_streams(world->redis().address(), "r:*:changes");
    world->create_tenants({"big", "small"});
    relay->start();
    const auto write = [&](const std::string& tenant, const char* prefix, int transactions, size_t bytes) {
      flood(world->database_uri(), {.tenant = tenant, .prefix = prefix, .transactions = transactions, .bytes = bytes});
    };
    write("big", "before", 5, 100);
    write("small", "before", 5, 100);
    write("big", "too-large", 1, 40'000);
    write("big", "behind", 5, 100);
    write("small", "behind", 50, 100);
    REQUIRE(in_redis->wait_for(66, 30s));
    REQUIRE_MESSAGE(in_kafka->wait_for(60, 30s), in_kafka->count());

    json line;
    const bool stopped = wait_until([&] {
      line = tenant_status(*relay, "big")["kafka"];
      return line.is_object() && line["state"] == "POISON";
    });
    CHECK_MESSAGE(stopped, line.dump());
    CHECK(holds(line["last_error"], "cannot publish event big/"));
    CHECK(holds(line["last_error"], "raise message_bytes_max and the topic's max.message.bytes"));
    CHECK(wait_until([&] { return of_tenant(*in_kafka, "big").back().is_gap(); }, 30s));
    const auto told = of_tenant(*in_kafka, "big").back();
    CHECK(told.reason == "EVENT_REFUSED");
    CHECK(line["sequence"] == told.sequence);
    CHECK(tenant_status(*relay, "big")["redis"]["state"] == "ok");
    CHECK(tenant_status(*relay, "small")["kafka"]["state"] == "ok");
    CHECK(sink_status(*relay, "kafka")["stopped_tenants"] == 1);
    CHECK(json::parse(relay->status())["status"] == "degraded");
    CHECK(metric(relay->admin_port(), "headgate_relay_sink_poison_total{sink=\"kafka\"}") == 1);
    CHECK(metric(relay->admin_port(), "headgate_relay_sink_stopped_tenants{sink=\"kafka\"}") == 1);
    CHECK(read_file(relay->log_file()).find("poison_event") != std::string::npos);
    const auto before = of_tenant(*in_kafka, "big");
    CHECK(std::ranges::count_if(before, [](const Received& event) { return event.is_changes(); }) == 5);

    // The limit is lifted, and the relay told to try again.
    change_topic(world->kafka(), topic, "max.message.bytes", "1000000");
    CHECK(relay->stop() == 0);
    relay->start();
    REQUIRE_MESSAGE(in_kafka->wait_for(66, 30s), in_kafka->count());
    const Truth truth = read_truth(world->database_uri());
    CHECK(check_sink(truth, in_kafka->received(), Repeats::kAllowed, {"EVENT_REFUSED"}) == "");
    CHECK(check_sink(truth, in_redis->received(), Repeats::kNone) == "");
    CHECK(wait_until([&] { return json::parse(relay->status())["status"] == "healthy"; }, 30s));
  }

  TEST_CASE("one transaction of 30,000 changes passes every sink with its defaults, as protobuf and as JSON") {
    HG_WORLD(world, {.sinks = kAllSinks});
    world->create_tenants({"t"});
    world->relay().start();
    const std::string nats =
        "url: nats://" + world->nats().address() + "\nstream: JSON\nprefix: json\nformat: json\ncreate_stream: true\n";
    std::vector<SinkText> texts = {{"nats", "nats_jetstream", nats}};
    std::map<std::string, std::unique_ptr<Subscriber>> more;
    more["nats"] = subscribe_jetstream(world->nats().address(), "JSON", "json.>");
    if (!world->kafka().empty()) {
      texts.push_back({"kafka", "kafka",
                       "brokers: " + world->kafka() + "\nprefix: " + world->prefix() +
                           ".json\nformat: json\ncreate_topics: true\npartitions: 1\n"});
      more["kafka"] = subscribe_kafka(world->kafka(), world->prefix() + ".json.permission-changes");
    }
    const auto relay = make_relay(*world, "json", texts);
    relay->start();
    EngineSession session(world->database_uri());
    session.write("t", "before");
    session.begin("t");
    session.add_many(30'000, "x");
    session.commit();
    session.write("t", "behind");
    const Truth truth = read_truth(world->database_uri());
    const std::string last = "t/" + std::to_string(truth.at("t").back().xid) + "/0";
    for (auto& [sink, subscriber] : world->subscribers()) more[sink] = std::move(subscriber);
    for (const auto& entry : more) {
      const auto& sink = entry.first;
      const auto& subscriber = entry.second;
      CAPTURE(sink);
      const bool arrived = wait_until(
          [&] {
            const auto events = subscriber->received();
            return !events.empty() && events.back().id == last;
          },
          60s);
      CHECK_MESSAGE(arrived, subscriber->count());
      CHECK(check_sink(truth, subscriber->received(), Repeats::kNone) == "");
      CHECK(subscriber->faults() == std::vector<std::string>{});
    }
    world->subscribers().clear();
    CHECK(json::parse(world->relay().status())["status"] == "healthy");
  }
}
