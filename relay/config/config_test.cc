#include "relay/config/config.h"

#include "tests/support/process.h"
#include "tests/support/test_main.h"

namespace headgate::relay {

namespace {

using Environment = std::map<std::string, std::string>;

struct Loaded {
  RelayConfig config;
  std::string fault;
  std::vector<std::string> warnings;
};

Loaded load(const std::string& yaml, const Environment& environment = {}) {
  headgate::testing::TempFolder folder;
  const std::string path = folder.path() + "/relay.yaml";
  headgate::testing::write_file(path, yaml);
  Loaded loaded;
  loaded.fault = message_of(load_config(path, environment, loaded.config, &loaded.warnings));
  return loaded;
}

const std::string kOneSink = "sinks:\n  - {name: out, kind: stdout}\n";

struct Fault {
  const char* yaml;
  const char* text;
};

}  // namespace

TEST_SUITE_BEGIN("relay/config");

TEST_CASE("config: a file with everything is taken over") {
  const Loaded loaded = load(R"(
name: eu
upstream: {address: "dns:///engine:3478", kind: feed, key: hush, tls: {enabled: true}}
tenants: {include: ["a*", b], start: earliest, on_gap: from_head}
tokens: {kind: postgres, postgres: {uri: "postgres://u:p@h/d"}}
hub: {bytes: 1MiB}
sinks:
  - {name: k1, kind: kafka, brokers: "b1:9092", batch: {events_max: 7}, options: {client.rack: r1}}
  - {name: k2, kind: kafka, brokers: "b2:9092", commit: {interval: 2s}}
  - {name: r, kind: redis_streams, host: redis, port: 6380, password: hush2, format: json}
  - {name: j, kind: nats_jetstream, url: "nats://n:4222", on_poison: dead_letter_file, dead_letter_file: /d}
admin: {port: 0}
)");
  CHECK(loaded.fault == "");
  const RelayConfig& c = loaded.config;
  CHECK(c.tokens.scope == "eu");
  CHECK(c.upstream.kind == UpstreamKind::kFeed);
  CHECK(c.upstream.tls.enabled);
  CHECK(c.delivery.session.tenants.patterns == std::vector<std::string>{"a*", "b"});
  CHECK(c.delivery.session.on_gap == GapPolicy::kFromHead);
  CHECK(c.delivery.hub_bytes == 1 << 20);
  REQUIRE(c.sinks.size() == 4);
  CHECK(std::get<sinks::KafkaSettings>(c.sinks[0].settings.kind).brokers == "b1:9092");
  CHECK(c.sinks[0].worker.batch.items_max == 7);
  CHECK(c.sinks[1].worker.commit.interval == Duration(2000));
  CHECK(std::get<sinks::RedisStreamsSettings>(c.sinks[2].settings.kind).connection.port == 6380);
  CHECK(c.sinks[2].settings.encoding.format == sinks::PayloadFormat::kJson);
  CHECK(c.sinks[3].worker.on_poison == PoisonPolicy::kDeadLetterFile);
}

TEST_CASE("config: all that a start would refuse of a sink is told at once, with its line and the sink's name") {
  const Loaded loaded = load(R"(tokens: {kind: postgres, postgres: {uri: "mysql://u:s3cret@h/d"}}
sinks:
  - name: one
    kind: kafka
    topic: "{tenant"
    format: confluent
    options:
      no.such.option: x
      socket.timeout.ms: "5"
      acks: "1"
  - {name: two, kind: redis_streams, stream: "{prefix}:changes"}
  - {name: three, kind: nats_jetstream,
     subject: "{entity}"}
  - {name: four, kind: redis_pubsub, channel: "{nobody}"}
)");
  CAPTURE(loaded.fault);
  for (const char* text : {
           "relay.yaml:1:37: tokens.postgres.uri must begin with postgres:// or postgresql://",
           "relay.yaml:5:5: sinks.0.topic of sink 'one': template '{tenant'",
           "relay.yaml:3:5: sinks.0.schema_id of sink 'one': the confluent format needs schema_id",
           "relay.yaml:8:7: sinks.0.options.no.such.option of sink 'one': is refused by librdkafka",
           "relay.yaml:9:7: sinks.0.options.socket.timeout.ms of sink 'one': is refused by librdkafka",
           "relay.yaml:10:7: sinks.0.options.acks of sink 'one': cannot be set",
           "relay.yaml:11:38: sinks.1.stream of sink 'two': stream must name",
           "relay.yaml:13:6: sinks.2.subject of sink 'three': ",
           "sinks.3.channel of sink 'four': ",
       }) {
    CAPTURE(text);
    CHECK(loaded.fault.find(text) != std::string::npos);
  }
  CHECK(loaded.fault.find("s3cret") == std::string::npos);
}

TEST_CASE("config: what cannot work of Redis is told at once, of sinks and token store") {
  const Loaded loaded = load(R"(tokens: {kind: redis, redis: {mode: sentinel}}
sinks:
  - {name: plain, kind: redis_streams}
  - {name: shared, kind: redis_streams, stream: "{prefix}:{{{shard}}}:changes", shards: 8}
  - {name: one, kind: redis_streams, mode: cluster, database: 2}
  - {name: two, kind: redis_pubsub, tls_ca_file: /nonexistent/ca.pem}
  - {name: three, kind: redis_streams, tls: true,
     tls_ca_file: /nonexistent/ca.pem}
  - {name: four, kind: redis_streams, mode: cluster, addresses: ["n:1"],
     stream: "{prefix}:{tenant}"}
)");
  CAPTURE(loaded.fault);
  for (const char* text : {
           "tokens.redis.addresses must name the sentinels in mode sentinel",
           "tokens.redis.sentinel_master must name the master",
           "sinks.2.addresses of sink 'one': must name some nodes",
           "relay.yaml:5:",
           "sinks.2.database of sink 'one': must be 0 in mode cluster",
           "sinks.3.tls of sink 'two': must be true",
           "relay.yaml:8:6: sinks.4.tls_ca_file of sink 'three': ",
           "relay.yaml:10:6: sinks.5.stream of sink 'four': ",
           "different slots",
       }) {
    CAPTURE(text);
    CHECK(loaded.fault.find(text) != std::string::npos);
  }
  CHECK(loaded.fault.find("'plain'") == std::string::npos);
  CHECK(loaded.fault.find("'shared'") == std::string::npos);
}

TEST_CASE("config: the environment wins over the file, also inside the list of sinks") {
  const Loaded loaded = load(kOneSink, {{"HEADGATE_RELAY_UPSTREAM_ADDRESS", "e:1"},
                                        {"HEADGATE_RELAY_SINKS_1_NAME", "f"},
                                        {"HEADGATE_RELAY_SINKS_1_KIND", "file"},
                                        {"HEADGATE_RELAY_SINKS_1_PATH", "/tmp/f"}});
  CHECK(loaded.fault == "");
  CHECK(loaded.config.upstream.address == "e:1");
  REQUIRE(loaded.config.sinks.size() == 2);
  CHECK(std::get<sinks::FileSettings>(loaded.config.sinks[1].settings.kind).path == "/tmp/f");
}

TEST_CASE("config: faults are refused with a text that helps") {
  const std::vector<Fault> faults = {
      {"", "sinks must hold at least one sink"},
      {"sinks:\n  - {name: a}\n", "kind must be set"},
      {"sinks:\n  - {kind: stdout}\n", "name must be set"},
      {"sinks:\n  - {name: a, kind: kafak}\n", "kafka"},
      {"sinks:\n  - {name: a, kind: kafka, borkers: x}\n", "brokers"},
      {"sinks:\n  - {name: a, kind: stdout, brokers: x}\n", "brokers"},
      {"sinks:\n  - {name: a, kind: file}\n", "path must be set"},
      {"sinks:\n  - {name: a, kind: stdout}\n  - {name: a, kind: stdout}\n", "'a' is the name of another sink too"},
      {"upstraem: {address: x}\nsinks:\n  - {name: a, kind: stdout}\n", "upstream"},
      {"tenants: {start: middle}\nsinks:\n  - {name: a, kind: stdout}\n", "'middle' is not one of head, earliest"},
      {"tenants: {include: []}\nsinks:\n  - {name: a, kind: stdout}\n", "include must name at least one"},
      {"tokens: {kind: postgres}\nsinks:\n  - {name: a, kind: stdout}\n", "uri must be set for kind postgres"},
      {"sinks:\n  - {name: a, kind: stdout, on_poison: dead_letter_file}\n", "dead_letter_file must be set"},
      {"sinks:\n  - {name: a, kind: stdout, retry: {initial: 5s, max: 1s}}\n", "must not be less than initial"},
      {"upstream: {tls: {cert_file: /c}}\nsinks:\n  - {name: a, kind: stdout}\n", "needs both cert_file and key_file"},
  };
  for (const Fault& fault : faults) {
    CAPTURE(fault.yaml);
    const Loaded loaded = load(fault.yaml);
    CAPTURE(loaded.fault);
    CHECK(loaded.fault.find(fault.text) != std::string::npos);
  }
}

TEST_CASE("config: all faults are reported at once, each with its line, also rules over several values") {
  const Loaded loaded = load(R"(tokens: {kind: sqlit}
sinks:
  - {name: a, kind: kafka, topik: x}
  - {name: a, kind: stdout}
admin: {port: 99999}
)");
  for (const char* text :
       {"relay.yaml:1:16: tokens.kind: 'sqlit'", "relay.yaml:3:28: unknown key sinks.0.topik",
        "relay.yaml:4:6: sinks.1.name 'a' is the name of another sink too", "relay.yaml:5:15: admin.port: '99999'"}) {
    CHECK_MESSAGE(loaded.fault.find(text) != std::string::npos, loaded.fault);
  }
}

TEST_CASE("config: the reference lists the keys of every kind of sink") {
  const std::string text = config_reference();
  for (const char* key : {"upstream.address", "sinks.0.brokers", "sinks.0.stream", "sinks.0.channel", "sinks.0.url",
                          "sinks.0.rotate_bytes", "HEADGATE_RELAY_SINKS_0_TOPIC"}) {
    CHECK_MESSAGE(text.find(key) != std::string::npos, key);
  }
}

TEST_CASE("config: printing masks secrets and can be read again") {
  const Loaded loaded = load(
      "upstream: {key: hush}\ntokens: {kind: redis, redis: {password: hush}}\nadmin: {token: hush}\nsinks:\n"
      "  - {name: r, kind: redis_pubsub, password: hush}\n  - {name: f, kind: file, path: /f}\n");
  CHECK(loaded.fault == "");
  const std::string text = print_config(loaded.config);
  CHECK(text.find("hush") == std::string::npos);
  const Loaded again = load(text);
  CHECK(again.fault == "");
  CHECK(again.config.sinks.size() == 2);
}

TEST_CASE("config: what SIGHUP takes over are settings, by the names of the reference") {
  const std::string reference = config_reference();
  const ReloadRules rules = reload_rules();
  for (std::string key : rules.keys) {
    if (const size_t star = key.find('*'); star != std::string::npos) key[star] = '0';
    CHECK_MESSAGE(reference.find("| " + key + " |") != std::string::npos, key);
  }
  const auto allowed = [&](const char* after) {
    return rules.allows("tokens.postgres.uri", "postgres://u:old@db:5432/relay", after);
  };
  CHECK(allowed("postgres://u:new@db:5432/relay"));
  CHECK_FALSE(allowed("postgres://u:new@db:5432/other"));
  CHECK_FALSE(allowed("postgres://u:new@elsewhere:5432/relay"));
}

TEST_SUITE_END();

}  // namespace headgate::relay
