#include "sinks/kafka/kafka_sink.h"
#include "sinks/kafka/client.h"
#include "sinks/kafka/topic_settings.h"
#include "sinks/testing/contract.h"
#include "sinks/testing/servers.h"
#include "tests/support/test_main.h"

namespace headgate::sinks {
namespace {

// One broker for all cases of this file.
TestServer* kafka(std::string* reason) {
  static std::string why;
  static const std::unique_ptr<TestServer> server = start_kafka(&why);
  *reason = why;
  return server.get();
}

std::string fresh_topic_prefix() {
  static int number = 0;
  return fmt::format("case{}", ++number);
}

KafkaSettings settings_for(const std::string& address, const std::string& prefix) {
  KafkaSettings settings;
  settings.brokers = address;
  settings.prefix = prefix;
  settings.create_topics = true;
  settings.partitions = 3;
  settings.connect_timeout = Duration(3'000);
  settings.write_timeout = Duration(10'000);
  return settings;
}

std::unique_ptr<Sink> make(const KafkaSettings& settings) {
  auto sink = make_kafka_sink("kafka", {}, settings);
  REQUIRE_MESSAGE(sink.ok(), describe(sink.status()));
  return *std::move(sink);
}

Contract contract_of(TestServer& server, std::string_view mode = kIdempotent) {
  const std::string prefix = fresh_topic_prefix();
  TestServer* s = &server;
  KafkaSettings settings = settings_for(server.address(), prefix);
  settings.mode = mode;
  Contract contract;
  contract.make = [=] { return sinks::make(settings); };
  contract.make_limited = [=](size_t bytes) {
    KafkaSettings limited = settings;
    limited.message_bytes_max = bytes;
    return sinks::make(limited);
  };
  contract.make_absent = [=] {
    KafkaSettings absent = settings;
    absent.brokers = fmt::format("127.0.0.1:{}", testing::free_port());
    return sinks::make(absent);
  };
  contract.subscribe = [=] { return testing::subscribe_kafka(s->address(), prefix + ".permission-changes"); };
  contract.kill = [=] { s->kill(); };
  contract.start = [=] { s->start(); };
  contract.pause = [=] { s->pause(); };
  contract.resume = [=] { s->resume(); };
  return contract;
}

}  // namespace

#define HG_KAFKA(name)                       \
  std::string reason;                        \
  TestServer* const broker = kafka(&reason); \
  if (broker == nullptr) HG_SKIP(reason);    \
  TestServer& name = *broker

TEST_SUITE("kafka/kafka_sink") {
  TEST_CASE("kafka: keeps the order per tenant") {
    HG_KAFKA(server);
    check_order_per_tenant(contract_of(server));
  }
  TEST_CASE("kafka: the sink may be closed at any time") {
    HG_KAFKA(server);
    check_close(contract_of(server));
  }
  TEST_CASE("kafka: an absent broker is UNAVAILABLE") {
    HG_KAFKA(server);
    check_absent_server(contract_of(server));
  }
  TEST_CASE("kafka: the stop token is honoured while the broker hangs") {
    HG_KAFKA(server);
    check_stop_token(contract_of(server));
  }
  TEST_CASE("kafka: a repeated batch loses nothing") {
    HG_KAFKA(server);
    check_repeated_batch(contract_of(server));
  }
  TEST_CASE("kafka: tells the last event after it was opened again") {
    HG_KAFKA(server);
    check_recover(contract_of(server));
  }
  TEST_CASE("kafka: takes control events, none of them a tombstone") {
    HG_KAFKA(server);
    check_control_events(contract_of(server));
  }
  TEST_CASE("kafka: a heartbeat reaches every partition, and is nobody's place") {
    HG_KAFKA(server);
    Contract contract = contract_of(server);
    contract.heartbeats = 3;
    check_heartbeats(contract);
  }
  TEST_CASE("kafka: knows how far a snapshot came") {
    HG_KAFKA(server);
    check_recover_in_snapshot(contract_of(server));
  }
  TEST_CASE("kafka: an event that is too large is refused with its id") {
    HG_KAFKA(server);
    check_oversize(contract_of(server));
  }
  TEST_CASE("kafka: tells the largest event: the least of its own limit, the topic's and the broker's") {
    HG_KAFKA(server);
    const auto told = [&](KafkaSettings settings) {
      const auto sink = make(settings);
      const Status opened = sink->open({});
      REQUIRE_MESSAGE(opened.ok(), describe(opened));
      return sink->max_event_bytes();
    };
    KafkaSettings settings = settings_for(server.address(), fresh_topic_prefix());
    settings.topic_config["max.message.bytes"] = "70000";
    for (const auto mode : {kIdempotent, kTransactional}) {
      settings.mode = mode;
      CHECK(told(settings) == 70'000);
    }
    settings.message_bytes_max = 50'000;
    CHECK(told(settings) == 50'000);
    settings = settings_for(server.address(), fresh_topic_prefix());
    settings.topic = "{prefix}.{tenant}";
    settings.message_bytes_max = 100 << 20;
    const size_t of_broker = told(settings);
    CHECK(of_broker > 0);
    CHECK(of_broker < settings.message_bytes_max);
  }
  TEST_CASE("kafka: finds tenants without a cursor in the tail, whatever the topics are called") {
    HG_KAFKA(server);
    KafkaSettings settings = settings_for(server.address(), fresh_topic_prefix());
    SUBCASE("one topic") {}
    SUBCASE("a topic for each tenant") { settings.topic = "{prefix}.{tenant}.changes"; }
    const auto deliveries = sample_deliveries({"t1", "t.2_x"}, 20);
    {
      const auto sink = make(settings);
      REQUIRE(sink->open({}).ok());
      REQUIRE(sink->recover({}, {}).ok());
      REQUIRE(sink->write({deliveries, {}}, {}).written == 20);
    }
    const auto sink = make(settings);
    REQUIRE(sink->open({}).ok());
    const auto held = sink->recover({}, {});
    REQUIRE_MESSAGE(held.ok(), describe(held.status()));
    REQUIRE(held->size() == 2);
    CHECK(held->at("t1") == cursor_of(deliveries[18]));
    CHECK(held->at("t.2_x") == cursor_of(deliveries[19]));
  }
  TEST_CASE("kafka: an event that was left out on purpose does not hide what follows it") {
    HG_KAFKA(server);
    const Contract contract = contract_of(server);
    auto deliveries = sample_deliveries({"t"}, 6);
    const Cursor before = cursor_of(deliveries[1]);
    const Cursor behind = cursor_of(deliveries[2]);
    deliveries.erase(deliveries.begin() + 2);
    const auto sink = contract.make();
    REQUIRE(sink->open({}).ok());
    REQUIRE(sink->write({deliveries, {}}, {}).written == 5);
    CHECK(sink->recover({{"t", behind}}, {})->at("t") == cursor_of(deliveries.back()));
    CHECK(sink->recover({{"t", before}}, {})->at("t") == before);
  }
  TEST_CASE("kafka: a topic that never had a record has lost what a cursor names") {
    HG_KAFKA(server);
    const Contract contract = contract_of(server);
    const auto sink = contract.make();
    REQUIRE(sink->open({}).ok());
    const auto held = sink->recover({{"t", cursor_of(sample_deliveries({"t"}, 1)[0])}}, {});
    REQUIRE_MESSAGE(held.ok(), describe(held.status()));
    REQUIRE(held->count("t") == 1);
    CHECK(held->at("t").sequence == 0);
  }
  TEST_CASE("kafka: an absent topic is told by name, before an event comes") {
    HG_KAFKA(server);
    KafkaSettings settings = settings_for(server.address(), fresh_topic_prefix());
    std::string missing = settings.prefix + ".permission-changes";
    SUBCASE("of events") {}
    SUBCASE("of cursors") {
      REQUIRE(make(settings)->open({}).ok());
      settings.mode = kTransactional;
      missing = settings.prefix + ".kafka.cursors";
    }
    settings.create_topics = false;
    const auto sink = make(settings);
    const Status status = sink->open({});
    CHECK(status.code() == StatusCode::kUnavailable);
    CHECK(message_of(status).find("'" + missing + "'") != std::string::npos);
    CHECK(message_of(status).find("create_topics") != std::string::npos);
  }
  TEST_CASE("kafka: the settings of a topic are read, and those that lose events are named") {
    HG_KAFKA(server);
    KafkaSettings settings = settings_for(server.address(), fresh_topic_prefix());
    settings.topic_config = {
        {"cleanup.policy", "compact,delete"}, {"retention.ms", "60000"}, {"retention.bytes", "1000"}};
    const auto sink = make(settings);
    REQUIRE(sink->open({}).ok());
    const auto client = *make_producer(settings, nullptr, nullptr);
    const std::string topic = settings.prefix + ".permission-changes";
    const auto told = settings_of(client.get(), {Described::Kind::kTopic, topic}, settings, {});
    REQUIRE_MESSAGE(told.ok(), describe(told.status()));
    const auto facts = await_topic(client.get(), topic, settings, {});
    REQUIRE(facts.ok());
    CHECK(facts->partitions == 3);
    CHECK(losing_settings(*told, *facts, settings, TopicUse::kEvents) ==
          "cleanup.policy=compact,delete, retention.ms=60000, retention.bytes=1000");
  }
  TEST_CASE("kafka: a broker that is killed loses nothing") {
    HG_KAFKA(server);
    check_server_killed(contract_of(server));
  }

  TEST_CASE("kafka: an event that only the topic refuses is found by sending one by one") {
    HG_KAFKA(server);
    const std::string prefix = fresh_topic_prefix();
    KafkaSettings settings = settings_for(server.address(), prefix);
    SUBCASE("idempotent") {}
    SUBCASE("transactional") { settings.mode = kTransactional; }
    settings.topic_config["max.message.bytes"] = "20000";
    settings.compression = "none";
    const auto sink = make(settings);
    REQUIRE(sink->open({}).ok());
    std::vector<Delivery> deliveries = sample_deliveries({"t"}, 5);
    auto large = std::make_shared<Event>(*deliveries[2].event);
    large->payload = sample_deliveries({"t"}, 1, 30'000)[0].event->payload;
    deliveries[2].event = large;
    size_t at = 0;
    Status status = unavailable("not yet");
    for (int i = 0; i < 10 && status.code() != StatusCode::kInvalidArgument; ++i) {
      if (!sink->open({}).ok()) continue;
      const WriteResult result = sink->write({std::span(deliveries).subspan(at), {}}, {});
      at += result.written;
      status = result.status;
    }
    CHECK(at == 2);
    CHECK(status.code() == StatusCode::kInvalidArgument);
    CHECK(message_of(status).find("t/1002/0") != std::string::npos);
    CHECK(message_of(status).find("max.message.bytes") != std::string::npos);
    REQUIRE(sink->open({}).ok());
    CHECK(sink->write({std::span(deliveries).subspan(3), {}}, {}).written == 2);
    const auto subscriber = testing::subscribe_kafka(server.address(), prefix + ".permission-changes");
    REQUIRE(subscriber->wait_for(4, std::chrono::seconds(20)));
    CHECK(subscriber->received().back().sequence == 5);
  }

  TEST_CASE("kafka, transactional: keeps the order per tenant") {
    HG_KAFKA(server);
    check_order_per_tenant(contract_of(server, kTransactional));
  }
  TEST_CASE("kafka, transactional: the sink may be closed at any time") {
    HG_KAFKA(server);
    check_close(contract_of(server, kTransactional));
  }
  TEST_CASE("kafka, transactional: an absent broker is UNAVAILABLE") {
    HG_KAFKA(server);
    check_absent_server(contract_of(server, kTransactional));
  }
  TEST_CASE("kafka, transactional: the stop token is honoured while the broker hangs") {
    HG_KAFKA(server);
    check_stop_token(contract_of(server, kTransactional));
  }
  TEST_CASE("kafka, transactional: a repeated batch is stored once") {
    HG_KAFKA(server);
    check_repeated_batch(contract_of(server, kTransactional));
  }
  TEST_CASE("kafka, transactional: tells the last event after it was opened again") {
    HG_KAFKA(server);
    check_recover(contract_of(server, kTransactional));
  }
  TEST_CASE("kafka, transactional: takes control events, none of them a tombstone") {
    HG_KAFKA(server);
    check_control_events(contract_of(server, kTransactional));
  }
  TEST_CASE("kafka, transactional: a heartbeat reaches every partition, and is nobody's place") {
    HG_KAFKA(server);
    Contract contract = contract_of(server, kTransactional);
    contract.heartbeats = 3;
    check_heartbeats(contract);
  }
  TEST_CASE("kafka, transactional: knows how far a snapshot came") {
    HG_KAFKA(server);
    check_recover_in_snapshot(contract_of(server, kTransactional));
  }
  TEST_CASE("kafka, transactional: an event that is too large is refused with its id") {
    HG_KAFKA(server);
    check_oversize(contract_of(server, kTransactional));
  }
  TEST_CASE("kafka, transactional: a stale owner is fenced") {
    HG_KAFKA(server);
    check_fence(contract_of(server, kTransactional));
  }
  TEST_CASE("kafka, transactional: a broker that is killed loses and repeats nothing") {
    HG_KAFKA(server);
    check_server_killed(contract_of(server, kTransactional));
  }
  TEST_CASE("kafka, transactional: an owner whose place was taken by a stale one takes it back") {
    HG_KAFKA(server);
    const Contract contract = contract_of(server, kTransactional);
    const auto owner = contract.make();
    const auto stale = contract.make();
    const auto deliveries = sample_deliveries({"t"}, 6);
    const auto rest = std::span(deliveries).subspan(2);
    REQUIRE(owner->open({}).ok());
    REQUIRE(owner->write({std::span(deliveries).first(2), {5}}, {}).written == 2);
    REQUIRE(stale->open({}).ok());
    CHECK(stale->write({rest, {4}}, {}).status.code() == StatusCode::kFailedPrecondition);
    const WriteResult replaced = owner->write({rest, {5}}, {});
    CHECK(replaced.written == 0);
    CHECK(replaced.status.code() == StatusCode::kUnavailable);
    REQUIRE(owner->open({}).ok());
    CHECK(owner->write({rest, {5}}, {}).written == 4);
    const auto subscriber = contract.subscribe();
    REQUIRE(subscriber->wait_for(6, std::chrono::seconds(20)));
    for (size_t i = 0; i < 6; ++i) CHECK(subscriber->received()[i].sequence == i + 1);
  }

  TEST_CASE("settings: a topic that keeps everything on three brokers is not warned about") {
    const KafkaSettings settings;
    const TopicFacts three{12, 3, 3, 3};
    const auto losing = [&](const TopicSettings& topic, const TopicFacts& facts, TopicUse use = TopicUse::kEvents) {
      return losing_settings(topic, facts, settings, use);
    };
    const TopicSettings good = {{"cleanup.policy", "delete"},
                                {"retention.ms", "604800000"},
                                {"retention.bytes", "-1"},
                                {"min.insync.replicas", "2"}};
    CHECK(losing(good, three).empty());
    TopicSettings other = good;
    other["retention.ms"] = "-1";
    CHECK(losing(other, three).empty());
    other["min.insync.replicas"] = "1";
    CHECK(losing(other, three) == "min.insync.replicas=1 of 3 replicas");
    CHECK(losing(good, {12, 1, 1, 3}) ==
          "one replica on 3 brokers, min.insync.replicas=2 with 1 in sync now, so nothing can be written");
    CHECK(losing({{"cleanup.policy", "compact"}}, {1, 1, 1, 1}, TopicUse::kCursors).empty());
    CHECK(losing(good, three, TopicUse::kCursors) == "cleanup.policy=delete");
  }

  TEST_CASE("settings: every common client reads the default compression") {
    CHECK(KafkaSettings().compression == "none");
  }

  TEST_CASE("errors: a right that is missing is no event's fault") {
    for (const auto error :
         {RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED,
          RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED}) {
      CHECK(status_of_kafka(error, "try").code() == StatusCode::kPermissionDenied);
    }
  }

  TEST_CASE("settings: what would break the promise is refused") {
    KafkaSettings settings;
    settings.mode = "fast";
    CHECK(make_kafka_sink("k", {}, settings).status().code() == StatusCode::kInvalidArgument);
    settings.mode = kTransactional;
    CHECK(make_kafka_sink("k", {}, settings).ok());
    settings.options["transaction.timeout.ms"] = "1000";
    CHECK(make_kafka_sink("k", {}, settings).status().code() == StatusCode::kInvalidArgument);
    settings.options.clear();
    settings.mode = kIdempotent;
    settings.options["acks"] = "0";
    CHECK(make_kafka_sink("k", {}, settings).status().code() == StatusCode::kInvalidArgument);
    settings.options = {{"no.such.option", "1"}};
    CHECK(make_kafka_sink("k", {}, settings).status().code() == StatusCode::kInvalidArgument);
    settings.options = {{"client.rack", "a"}};
    CHECK(make_kafka_sink("k", {}, settings).ok());
  }
}

}  // namespace headgate::sinks
