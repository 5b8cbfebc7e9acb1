// The rights that docs/rights.md lists, to the letter: enough from the first opening over a restart to what follows a
// loss, and without any one of them the first attempt tells which is missing.
#include <iterator>
#include <ostream>
#include <sstream>

#include "base/refusals.h"
#include "sinks/kafka/client.h"
#include "sinks/kafka/kafka_sink.h"
#include "sinks/redis/redis_sinks.h"
#include "sinks/testing/nats_rig.h"
#include "sinks/testing/redis_rig.h"
#include "tests/support/document.h"
#include "tests/support/kafka_acls.h"

namespace headgate::sinks {
namespace {

using testing::KafkaAcl;

constexpr Fence kRightsFence{7};

std::string rights_of(const std::string& tag) { return testing::block_of(HEADGATE_SOURCE_DIR "/docs/rights.md", tag); }

std::vector<std::string> words_of(const std::string& text) {
  std::istringstream in(text);
  return {std::istream_iterator<std::string>(in), {}};
}

std::map<std::string, Cursor> last_of(const std::vector<Delivery>& deliveries) {
  std::map<std::string, Cursor> cursors;
  for (const Delivery& delivery : deliveries) cursors[delivery.event->tenant] = cursor_of(delivery);
  return cursors;
}

// What a worker does at a first start and, with the cursors of before, at the next one.
Status run_sink(Sink& sink, std::span<const Delivery> deliveries, const std::map<std::string, Cursor>& stored) {
  HG_RETURN_IF_ERROR(sink.open({}));
  HG_RETURN_IF_ERROR(sink.recover(stored, {}).status());
  while (!deliveries.empty()) {
    const WriteResult result = sink.write({deliveries, kRightsFence}, {});
    deliveries = deliveries.subspan(result.written);
    if (!result.status.ok()) return result.status;
    if (result.written == 0) return internal_error("nothing was written");
  }
  return ok_status();
}

// A first start, a restart, and a write behind it.
void check_enough(const std::function<std::unique_ptr<Sink>()>& make, const std::vector<Delivery>& deliveries) {
  const auto first = std::span(deliveries).first(deliveries.size() / 2);
  const Status started = run_sink(*make(), first, {});
  REQUIRE_MESSAGE(started.ok(), describe(started));
  const auto again = make();
  const Status restarted =
      run_sink(*again, std::span(deliveries).subspan(first.size()), last_of({first.begin(), first.end()}));
  CHECK_MESSAGE(restarted.ok(), describe(restarted));
}

bool tells(const Status& status, const std::string& part) {
  const bool is_rights = status.code() == StatusCode::kPermissionDenied && refusal_kind(status) == RefusalKind::kRights;
  return is_rights && message_of(status).find(part) != std::string::npos;
}

// ---- Redis

struct RedisRights {
  RedisRights(TestServer& server, const std::string& tag) : server(server), prefix(fresh_prefix()) {
    words = words_of(testing::with(testing::with(rights_of(tag), "PASSWORD", "rpw"), "headgate:", prefix + ":"));
  }
  ~RedisRights() { run_command(server, {"ACL", "DELUSER", "relay"}); }
  // Without the words that end with this.
  void grant(const std::string& without = "") const {
    std::vector<std::string_view> kept;
    for (const std::string& word : words) {
      if (without.empty() || word != without) kept.push_back(word);
    }
    run_command(server, {"ACL", "DELUSER", "relay"});
    run_command(server, kept);
  }
  redis::ClientSettings connection() const {
    redis::ClientSettings made = connection_to(server.port());
    made.user = "relay";
    made.password = "rpw";
    return made;
  }

  TestServer& server;
  std::string prefix;
  std::vector<std::string> words;
};

std::unique_ptr<Sink> make_streams(const RedisRights& rights,
                                   const std::string& stream = RedisStreamsSettings().stream) {
  RedisStreamsSettings settings;
  settings.stream = stream;
  settings.shards = 4;
  settings.max_length = 1'000'000;
  settings.connection = rights.connection();
  settings.prefix = rights.prefix;
  settings.entries_per_transaction = 16;
  auto sink = make_redis_streams_sink("redis", {}, settings);
  REQUIRE(sink.ok());
  return *std::move(sink);
}

// ---- NATS

std::unique_ptr<TestServer> nats_with(const std::string& user, std::string* reason) {
  return start_nats(reason, "authorization { users = [\n{user: admin, password: pw}\n" + user + "\n] }\n");
}

std::string nats_user(const std::string& tag) { return testing::with(rights_of(tag), "PASSWORD", "pw"); }

std::unique_ptr<Sink> make_limited_core(const TestServer& server) {
  NatsCoreSettings settings;
  settings.connection.url = "nats://relay:pw@" + server.address();
  return *make_nats_core_sink("nats", {}, settings);
}

std::unique_ptr<Sink> make_limited_jetstream(const TestServer& server) {
  JetStreamSettings settings;
  settings.connection.url = "nats://relay:pw@" + server.address();
  settings.ack_timeout = Duration(2'000);
  return *make_jetstream_sink("nats", {}, settings);
}

// As an administrator does.
void make_headgate_stream(const TestServer& server) {
  JetStreamSettings settings;
  settings.connection.url = "nats://admin:pw@" + server.address();
  settings.create_stream = true;
  const auto sink = *make_jetstream_sink("nats", {}, settings);
  const Status made = sink->open({});
  REQUIRE_MESSAGE(made.ok(), describe(made));
}

// ---- Kafka

KafkaWithAcls* kafka_with_acls(std::string* reason) {
  static std::string why;
  static KafkaWithAcls broker = start_kafka_with_acls(&why);
  *reason = why;
  return broker.server == nullptr ? nullptr : &broker;
}

KafkaSettings kafka_settings(const std::string& brokers, const std::string& prefix, std::string_view mode) {
  KafkaSettings settings;
  settings.brokers = brokers;
  settings.prefix = prefix;
  settings.mode = mode;
  settings.partitions = 2;
  settings.connect_timeout = Duration(6'000);
  settings.write_timeout = Duration(8'000);
  return settings;
}

KafkaSettings as_relay(const KafkaWithAcls& broker, const std::string& prefix, std::string_view mode) {
  KafkaSettings settings = kafka_settings(broker.sasl_address(), prefix, mode);
  settings.options = {{"security.protocol", "sasl_plaintext"},
                      {"sasl.mechanism", "PLAIN"},
                      {"sasl.username", "relay"},
                      {"sasl.password", "pw"}};
  return settings;
}

std::unique_ptr<Sink> make_kafka(const KafkaSettings& settings) {
  auto sink = make_kafka_sink("kafka", {}, settings);
  REQUIRE_MESSAGE(sink.ok(), describe(sink.status()));
  return *std::move(sink);
}

std::vector<KafkaAcl> acls_of(const std::string& tag, const std::string& prefix) {
  const std::vector<std::string> words = words_of(testing::with(rights_of(tag), "headgate.", prefix + "."));
  std::vector<KafkaAcl> acls;
  for (size_t i = 0; i + 2 < words.size(); i += 3) acls.push_back({words[i], words[i + 1], words[i + 2]});
  return acls;
}

// Both topics, as an administrator makes them.
void make_topics(const KafkaWithAcls& broker, const std::string& prefix) {
  KafkaSettings settings = kafka_settings(broker.server->address(), prefix, kTransactional);
  settings.create_topics = true;
  settings.transactional_id = prefix + ".admin";
  const Status made = make_kafka(settings)->open({});
  REQUIRE_MESSAGE(made.ok(), describe(made));
}

}  // namespace

#define HG_KAFKA_ACLS(name)                              \
  std::string reason;                                    \
  KafkaWithAcls* const found = kafka_with_acls(&reason); \
  if (found == nullptr) HG_SKIP(reason);                 \
  KafkaWithAcls& name = *found

TEST_SUITE("sinks/rights") {
  TEST_CASE(
      "redis streams: the listed commands are enough, and each one that is missing is named at the first opening") {
    HG_REDIS(server);
    const RedisRights rights(server, "redis streams");
    const auto deliveries = sample_deliveries({"a", "b"}, 80, 20);
    rights.grant();
    check_enough([&] { return make_streams(rights); }, deliveries);
    for (const std::string& word : rights.words) {
      const bool optional = word == "+watch" || word == "+multi" || word == "+exec" || word == "+discard";
      if (word[0] != '+' || word == "+time") continue;
      CAPTURE(word);
      rights.grant(word);
      const auto more = sample_deliveries({"x" + word.substr(1, 3)}, 2, 20);
      const Status status = run_sink(*make_streams(rights), more, {});
      if (optional) {
        CHECK(status.ok());
      } else {
        CHECK_MESSAGE(tells(status, word), describe(status));
      }
    }
  }

  TEST_CASE("redis streams: the listed commands are enough for heartbeats and after a loss, in streams of both kinds") {
    HG_REDIS(server);
    for (const std::string& stream : {RedisStreamsSettings().stream, std::string("{prefix}:{{{shard}}}:changes")}) {
      CAPTURE(stream);
      const RedisRights rights(server, "redis streams");
      rights.grant();
      const auto deliveries = sample_deliveries({"a"}, 100, 20);
      const auto sink = make_streams(rights, stream);
      REQUIRE(run_sink(*sink, deliveries, {}).ok());
      CHECK(sink->heartbeat({1'100, "t", "1-1", 1, {}}, {}).ok());
      // What was lost in part, and as a whole.
      auto ahead = last_of(deliveries);
      ahead["a"].sequence += 1;
      CHECK(sink->recover(ahead, {}).value() == last_of(deliveries));
      run_command(server, {"DEL", rights.prefix + ":{a}:changes"});
      CHECK(sink->recover(ahead, {}).ok());
    }
  }

  TEST_CASE("redis pub/sub: one command and one pattern are enough") {
    HG_REDIS(server);
    const RedisRights rights(server, "redis pubsub");
    const auto make = [&] {
      RedisPubsubSettings settings;
      settings.connection = rights.connection();
      settings.prefix = rights.prefix;
      return *make_redis_pubsub_sink("redis", {}, settings);
    };
    const auto deliveries = sample_deliveries({"a"}, 4, 20);
    rights.grant();
    check_enough(make, deliveries);
    rights.grant("+publish");
    CHECK(tells(run_sink(*make(), deliveries, {}), "+publish"));
    rights.grant("&" + rights.prefix + ":*");
    CHECK(tells(run_sink(*make(), deliveries, {}), "&PREFIX:*"));
  }

  TEST_CASE("core: the listed subjects are enough, and one that is missing is named by the server") {
    const auto deliveries = sample_deliveries({"a", "b"}, 8, 20);
    std::string reason;
    const auto server = nats_with(nats_user("nats core"), &reason);
    if (server == nullptr) HG_SKIP(reason);
    check_enough([&] { return make_limited_core(*server); }, deliveries);
    const auto narrow = nats_with(testing::with(nats_user("nats core"), "headgate.>", "headgate.a"), &reason);
    const auto sink = make_limited_core(*narrow);
    CHECK(tells(run_sink(*sink, deliveries, {}), "headgate.b"));
  }

  TEST_CASE("jetstream: the listed subjects are enough, and each one that is missing is named at the first opening") {
    const auto deliveries = sample_deliveries({"a", "b"}, 8, 20);
    const std::string user = nats_user("nats jetstream");
    std::string reason;
    const auto server = nats_with(user, &reason);
    if (server == nullptr) HG_SKIP(reason);
    make_headgate_stream(*server);
    check_enough([&] { return make_limited_jetstream(*server); }, deliveries);
    for (const std::string& subject : {std::string("headgate.>"), std::string("$JS.API.STREAM.INFO.HEADGATE")}) {
      CAPTURE(subject);
      const auto narrow = nats_with(testing::with(user, "\"" + subject + "\"", "\"nothing\""), &reason);
      make_headgate_stream(*narrow);
      const auto begin = std::chrono::steady_clock::now();
      const Status status = run_sink(*make_limited_jetstream(*narrow), deliveries, {});
      CHECK_MESSAGE(tells(status, subject == "headgate.>" ? "headgate." : subject), describe(status));
      CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds(5));
    }
  }

  TEST_CASE("kafka, idempotent: the listed rights are enough, and one that is missing is named with its command") {
    HG_KAFKA_ACLS(broker);
    make_topics(broker, "idem");
    const auto acls = acls_of("kafka idempotent", "idem");
    const auto deliveries = sample_deliveries({"a", "b"}, 8, 20);
    const auto make = [&] { return make_kafka(as_relay(broker, "idem", kIdempotent)); };
    testing::grant(broker.server->address(), "relay", acls);
    check_enough(make, deliveries);
    for (const KafkaAcl& acl : acls) {
      if (acl.operation == "DescribeConfigs") continue;
      CAPTURE(acl.operation);
      testing::revoke(broker.server->address(), "relay", acl);
      const Status status = run_sink(*make(), sample_deliveries({"c"}, 1, 20), {});
      CHECK_MESSAGE(tells(status, fmt::format("User:relay --operation {} --topic 'idem.", acl.operation)),
                    describe(status));
      testing::grant(broker.server->address(), "relay", {acl});
    }
    CHECK(run_sink(*make(), sample_deliveries({"d"}, 1, 20), {}).ok());
  }

  TEST_CASE("kafka, transactional: the listed rights are enough, and one that is missing is named with its command") {
    HG_KAFKA_ACLS(broker);
    make_topics(broker, "trans");
    const auto acls = acls_of("kafka transactional", "trans");
    const auto deliveries = sample_deliveries({"a", "b"}, 8, 20);
    const auto make = [&] { return make_kafka(as_relay(broker, "trans", kTransactional)); };
    std::vector<KafkaAcl> topics = acls;
    std::erase_if(topics, [](const KafkaAcl& acl) { return acl.kind != "Topic"; });
    testing::grant(broker.server->address(), "relay", topics);
    const Status no_id = run_sink(*make(), deliveries, {});
    CHECK_MESSAGE(tells(no_id, "--operation Write --transactional-id 'trans.kafka'"), describe(no_id));
    testing::grant(broker.server->address(), "relay", acls);
    check_enough(make, deliveries);
    for (const KafkaAcl& acl : topics) {
      if (acl.operation == "DescribeConfigs") continue;
      CAPTURE(acl.operation + " " + acl.name);
      testing::revoke(broker.server->address(), "relay", acl);
      const Status status = run_sink(*make(), sample_deliveries({"c"}, 1, 20), {});
      CHECK_MESSAGE(tells(status, fmt::format("--operation {} --topic '{}'", acl.operation, acl.name)),
                    describe(status));
      testing::grant(broker.server->address(), "relay", {acl});
    }
  }

  TEST_CASE("kafka: topics are made with the listed rights, and not without") {
    HG_KAFKA_ACLS(broker);
    std::vector<KafkaAcl> acls = acls_of("kafka idempotent", "made");
    testing::grant(broker.server->address(), "relay", acls);
    KafkaSettings settings = as_relay(broker, "made", kIdempotent);
    settings.create_topics = true;
    const Status refused = make_kafka(settings)->open({});
    CHECK_MESSAGE(tells(refused, "--operation Create --topic 'made.permission-changes'"), describe(refused));
    testing::grant(broker.server->address(), "relay", acls_of("kafka create_topics", "made"));
    check_enough([&] { return make_kafka(settings); }, sample_deliveries({"a"}, 4, 20));
  }

  TEST_CASE("kafka: a wrong password is told at once, as what it is") {
    HG_KAFKA_ACLS(broker);
    KafkaSettings settings = as_relay(broker, "idem", kIdempotent);
    settings.options["sasl.password"] = "wrong";
    const auto begin = std::chrono::steady_clock::now();
    const Status status = make_kafka(settings)->open({});
    CHECK_MESSAGE(tells(status, "uthentication"), describe(status));
    CHECK(message_of(status).find("wrong") == std::string::npos);
    CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds(6));
  }
}

}  // namespace headgate::sinks
