// Servers that refuse at random under load: rights are taken and given back, passwords changed, limits lowered, servers
// made read-only, connections refused. A seed repeats the schedule. Nothing is lost, nothing counts as delivered that
// was refused, no event is blamed, and all goes on without help.
#include <filesystem>
#include <nlohmann/json.hpp>
#include <random>
#include <regex>

#include "tests/robustness/aftermath.h"
#include "tests/robustness/jetstream_admin.h"
#include "tests/robustness/kafka_admin.h"
#include "tests/robustness/pressure.h"
#include "tests/robustness/schedule.h"
#include "tests/support/document.h"
#include "tests/support/kafka_acls.h"

namespace {

using namespace headgate::testing;
using namespace std::chrono_literals;

constexpr std::chrono::seconds kAfterRefusals = 60s;
constexpr const char* kRights = HEADGATE_SOURCE_DIR "/docs/rights.md";
const std::string kRetry = "retry:\n  initial: 50ms\n  max: 500ms\n";

struct Refusal {
  std::string name;
  std::function<void()> begin;
  std::function<void()> end;
  // What must have been counted afterwards: sinks, and the kind.
  std::vector<std::string> sinks = {};
  std::string kind = {};
};

// PostgreSQL with a role for the engine and one for the token store, prepared as docs/rights.md says.
struct Roles {
  std::unique_ptr<PostgresDatabase> database = PostgresDatabase::create_on_own_server();
  TempFolder folder{"headgate-roles"};
  std::string engine, tokens;

  Roles() {
    if (database == nullptr) return;
    engine = "engine_" + database->name();
    tokens = "tokens_" + database->name();
    for (const std::string& role : {engine, tokens}) database->execute("CREATE ROLE " + role + " LOGIN");
    prepare(HEADGATE_ENGINE_BINARY, "database: {uri: \"" + uri(engine) + "\"}\n");
    prepare(HEADGATE_RELAY_BINARY,
            "tokens: {kind: postgres, postgres: {uri: \"" + uri(tokens) + "\"}}\nsinks: [{name: out, kind: stdout}]\n");
  }
  ~Roles() {
    if (database == nullptr) return;
    database->disconnect_all();
    for (const std::string& role : {engine, tokens}) {
      database->execute("DROP OWNED BY " + role);
      database->execute("DROP ROLE " + role);
    }
  }
  std::string uri(const std::string& role) const {
    return std::regex_replace(database->uri(), std::regex("//postgres@"), "//" + role + "@");
  }
  // The sessions of one role end, so that what changed holds at once.
  void end_sessions(const std::string& role) const {
    database->execute("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = '" + role + "'");
  }

 private:
  void prepare(const std::string& program, const std::string& yaml) {
    const std::string file = folder.path() + "/prepare.sql", config = folder.path() + "/config.yaml";
    write_file(config, yaml);
    Process print({.argv = {program, "--print-sql", "--config", config}, .log_file = file});
    REQUIRE(print.wait(20s));
    REQUIRE(print.exit_code() == 0);
    Process psql({.argv = {"psql", "-q", "-v", "ON_ERROR_STOP=1", "-d", database->uri(), "-f", file},
                  .log_file = folder.path() + "/psql"});
    REQUIRE(psql.wait(20s));
    REQUIRE_MESSAGE(psql.exit_code() == 0, read_file(folder.path() + "/psql"));
  }
};

// A nats-server whose users change. Core subscribers must stay, so that server reads its file again; one with JetStream
// is killed and started, because 2.9.10 may forget a stream at a reload.
class GuardedNats {
 public:
  enum class Change { kReload, kRestart };
  GuardedNats(const std::string& folder, Change change) : folder_(folder), change_(change) {
    std::filesystem::create_directories(folder);
    write(users("pw", "\">\""));
    server_.start();
  }
  std::string address() const { return "127.0.0.1:" + std::to_string(port_); }
  std::string admin() const { return "admin:pw@" + address(); }
  void let_relay(const std::string& password, const std::string& publish) {
    write(users(password, publish));
    if (change_ == Change::kReload) return server_.signal(SIGHUP);
    server_.kill();
    start_again(server_);
  }

 private:
  std::string users(const std::string& password, const std::string& publish) const {
    const std::string storage = change_ == Change::kReload ? "" : "jetstream {store_dir: \"" + folder_ + "/js\"}\n";
    return storage + "authorization { users = [\n  {user: admin, password: pw}\n  {user: relay, password: " + password +
           ", permissions: {publish: {allow: [" + publish + "]}, subscribe: {allow: [\"_INBOX.>\"]}}}\n] }\n";
  }
  void write(const std::string& text) { write_file(folder_ + "/nats.conf", text); }

  const std::string folder_;
  const Change change_;
  const int port_ = free_port();
  Program server_{
      {.name = "nats-server",
       .argv = {"nats-server", "-a", "127.0.0.1", "-p", std::to_string(port_), "-c", folder_ + "/nats.conf"},
       .log_file = folder_ + "/log",
       .ready = [this] { return port_answers(port_); }}};
};

struct BothNats {
  explicit BothNats(const std::string& folder)
      : core(folder + "/nats-core", GuardedNats::Change::kReload),
        jetstream(folder + "/nats-jetstream", GuardedNats::Change::kRestart) {}
  GuardedNats core, jetstream;
};

std::vector<Refusal> redis_refusals(World& world) {
  RedisServer* const redis = &world.redis();
  const auto run = [redis](const std::string& command) {
    return [redis, command] {
      const std::string answer = redis_command(*redis, command);
      CHECK_MESSAGE(answer.rfind("-", 0) != 0, command << ": " << answer);
    };
  };
  // Whoever is connected keeps the rights of its log-in only as far as they are looked at anew.
  const auto run_and_end = [=](const std::string& command) {
    return [=] {
      run(command)();
      run("CLIENT KILL USER relay")();
    };
  };
  const std::vector<std::string> both = {"redis_streams", "redis_pubsub"};
  const std::string keys = "~" + world.prefix() + ":* &" + world.prefix() + ":*";
  return {
      {"redis: keys and channels taken away", run("ACL SETUSER relay resetkeys resetchannels"),
       run("ACL SETUSER relay " + keys), both, "rights"},
      {"redis: commands taken away", run("ACL SETUSER relay -evalsha -eval -xadd -publish"),
       run("ACL SETUSER relay +evalsha +eval +xadd +publish"), both, "rights"},
      {"redis: another password", run_and_end("ACL SETUSER relay resetpass >other"),
       run("ACL SETUSER relay resetpass >rpw"), both, "rights"},
      {"redis: the user is switched off", run_and_end("ACL SETUSER relay off"), run("ACL SETUSER relay on"), both,
       "rights"},
      {"redis: no memory left",
       run("CONFIG SET maxmemory 1"),
       run("CONFIG SET maxmemory 0"),
       {"redis_streams"},
       "limit"},
      {"redis: became a replica", run("REPLICAOF 127.0.0.1 1"), run("REPLICAOF NO ONE"), {"redis_streams"}, "topology"},
      {"redis: too few replicas",
       run("CONFIG SET min-replicas-to-write 1"),
       run("CONFIG SET min-replicas-to-write 0"),
       {"redis_streams"},
       "topology"},
  };
}

std::vector<Refusal> nats_refusals(World& world, BothNats& nats) {
  std::vector<Refusal> all;
  for (auto& [sink, server] : {std::pair{"nats_core", &nats.core}, std::pair{"nats_jetstream", &nats.jetstream}}) {
    const auto let = [server = server](const std::string& password, const std::string& publish) {
      return [server, password, publish] { server->let_relay(password, publish); };
    };
    const std::string name = sink;
    all.push_back(
        {name + ": no subject may be published to", let("pw", "\"nothing\""), let("pw", "\">\""), {name}, "rights"});
    all.push_back({name + ": another password", let("other", "\">\""), let("pw", "\">\""), {name}, "rights"});
  }
  const std::string stream = world.prefix(), admin = nats.jetstream.admin();
  const auto limit = [stream, admin](bool full) {
    return [stream, admin, full] {
      const auto count = static_cast<int64_t>(stream_state(admin, stream).messages);
      change_stream(admin, stream, {.messages_max = full ? std::max<int64_t>(count, 1) : -1});
    };
  };
  all.push_back({"nats_jetstream: the stream is full", limit(true), limit(false), {"nats_jetstream"}, "limit"});
  return all;
}

std::vector<Refusal> postgres_refusals(const Roles& roles) {
  const auto run = [&roles](const std::string& sql, const std::string& ended = "") {
    return [&roles, sql, ended] {
      roles.database->execute(sql);
      if (!ended.empty()) roles.end_sessions(ended);
    };
  };
  std::vector<Refusal> all;
  for (const std::string& role : {roles.engine, roles.tokens}) {
    const std::string name = role == roles.engine ? "engine's database: " : "token store: ";
    const std::string alter = "ALTER ROLE " + role;
    all.push_back({name + "may not log in", run(alter + " NOLOGIN", role), run(alter + " LOGIN")});
    all.push_back(
        {name + "no connection left", run(alter + " CONNECTION LIMIT 0", role), run(alter + " CONNECTION LIMIT -1")});
    all.push_back({name + "read-only", run(alter + " SET default_transaction_read_only = on", role),
                   run(alter + " RESET default_transaction_read_only", role)});
    all.push_back({name + "no right to the schema", run("REVOKE USAGE ON SCHEMA headgate FROM " + role),
                   run("GRANT USAGE ON SCHEMA headgate TO " + role)});
  }
  const std::string cursors = " ON headgate.relay_cursors ";
  all.push_back({"token store: no right to write", run("REVOKE UPDATE, INSERT" + cursors + "FROM " + roles.tokens),
                 run("GRANT UPDATE, INSERT" + cursors + "TO " + roles.tokens)});
  all.push_back({"engine's database: no right to read", run("REVOKE SELECT ON relation_tuples FROM " + roles.engine),
                 run("GRANT SELECT ON relation_tuples TO " + roles.engine)});
  all.push_back({"engine's database: no right to write", run("REVOKE INSERT ON transactions FROM " + roles.engine),
                 run("GRANT INSERT ON transactions TO " + roles.engine)});
  return all;
}

std::vector<Refusal> kafka_refusals(World& world) {
  const std::string brokers = world.kafka_server().address(), topic = world.prefix() + ".permission-changes";
  const auto acl = [=](const std::string& operation, bool granted) {
    return [=] {
      const KafkaAcl right{operation, "Topic", topic};
      granted ? grant(brokers, "relay", {right}) : revoke(brokers, "relay", right);
    };
  };
  return {{"kafka: no right to write", acl("Write", false), acl("Write", true), {"kafka"}, "rights"},
          {"kafka: no right to read", acl("Read", false), acl("Read", true)}};
}

// Each refusal once, in the seed's order, then one or two at a time until `time` is over.
class RefusalAttack {
 public:
  RefusalAttack(std::vector<Refusal> refusals, uint64_t seed) : refusals_(std::move(refusals)), random_(seed) {}

  void run(std::chrono::seconds time) {
    const auto end = std::chrono::steady_clock::now() + time;
    std::vector<size_t> order(refusals_.size());
    for (size_t i = 0; i < order.size(); ++i) order[i] = i;
    for (size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[random_() % i]);
    for (const size_t i : order) strike({i});
    while (std::chrono::steady_clock::now() < end) {
      const size_t one = random_() % refusals_.size(), other = random_() % refusals_.size();
      strike(one == other ? std::vector<size_t>{one} : std::vector<size_t>{one, other});
    }
  }
  int strikes() const { return strikes_; }

 private:
  void strike(const std::vector<size_t>& chosen) {
    const auto length = std::chrono::milliseconds(500 + random_() % 700);
    std::string names;
    for (const size_t i : chosen) names += (names.empty() ? "" : " and ") + refusals_[i].name;
    MESSAGE(names << " for " << length.count() << " ms");
    for (const size_t i : chosen) refusals_[i].begin();
    wait_until([] { return false; }, length);
    for (const size_t i : chosen) refusals_[i].end();
    // Short enough that the next one meets what has not recovered yet.
    wait_until([] { return false; }, std::chrono::milliseconds(100 + random_() % 300));
    ++strikes_;
  }

  const std::vector<Refusal> refusals_;
  std::mt19937_64 random_;
  int strikes_ = 0;
};

std::string relay_yaml(World& world, const BothNats& nats, const std::string& tokens_uri,
                       const std::string& kafka_users) {
  std::string yaml = "upstream:\n  address: " + world.engine().address() + "\n" + kQuickUpstream +
                     "tenants:\n  start: earliest\ntokens:\n  kind: postgres\n  postgres:\n    uri: \"" + tokens_uri +
                     "\"\n    connect_timeout: 2s\n    statement_timeout: 1s\nsinks:\n";
  const auto add = [&](const std::string& kind, const std::string& lines) {
    yaml += "  - name: " + kind + "\n    kind: " + kind + "\n";
    std::istringstream in(lines + kRetry);
    for (std::string line; std::getline(in, line);) yaml += "    " + line + "\n";
  };
  const std::string prefix = world.prefix();
  const std::string redis =
      "port: " + std::to_string(world.redis().port()) + "\nprefix: " + prefix + "\nuser: relay\npassword: rpw\n";
  const auto url = [](const GuardedNats& server) { return "url: nats://relay:pw@" + server.address() + "\n"; };
  add("file", "path: " + world.folder() + "/events.jsonl\n");
  add("redis_streams", redis);
  add("redis_pubsub", redis);
  add("nats_core", url(nats.core) + "prefix: " + prefix + ".core\n");
  add("nats_jetstream",
      url(nats.jetstream) + "stream: " + prefix + "\nprefix: " + prefix + ".js\nack_timeout: 1500ms\n");
  if (!kafka_users.empty()) {
    add("kafka", "brokers: " + kafka_users + "\nprefix: " + prefix +
                     "\nwrite_timeout: 10s\nrecover_timeout: 6s\noptions: {security.protocol: sasl_plaintext, "
                     "sasl.mechanism: PLAIN, sasl.username: relay, sasl.password: pw}\n");
  }
  return yaml;
}

void let_relay_in(World& world, bool with_kafka) {
  // To the letter what docs/rights.md lists, for both sinks together.
  for (const char* tag : {"redis pubsub", "redis streams"}) {
    std::string line = with(with(block_of(kRights, tag), "PASSWORD", "rpw"), "headgate:", world.prefix() + ":");
    // The second one adds to the first.
    if (tag == std::string("redis streams"))
      line = with(with(with(line, "-@all ", ""), "resetkeys ", ""), "resetchannels ", "");
    REQUIRE(redis_command(world.redis(), line.substr(0, line.find('\n'))) == "+OK");
  }
  if (with_kafka) {
    const std::string topic = world.prefix() + ".permission-changes";
    create_topic(world.kafka_server().address(), topic, 4);
    grant(world.kafka_server().address(), "relay",
          {{"Write", "Topic", topic}, {"Read", "Topic", topic}, {"DescribeConfigs", "Topic", topic}});
  }
}

// Every kind of refusal was met, no event was blamed, and all is well.
void check_told(RelayProgram& relay, const std::vector<Refusal>& refusals, const std::set<std::string>& sinks) {
  for (const Refusal& refusal : refusals) {
    for (const std::string& sink : refusal.sinks) {
      const std::string series =
          "headgate_relay_sink_refusals_total{reason=\"" + refusal.kind + "\",sink=\"" + sink + "\"}";
      CHECK_MESSAGE(metric(relay.admin_port(), series) > 0, refusal.name << " at " << sink);
    }
  }
  for (const std::string& sink : sinks) {
    CHECK(metric(relay.admin_port(), "headgate_relay_sink_poison_total{sink=\"" + sink + "\"}") == 0);
    const nlohmann::json line = sink_status(relay, sink);
    CHECK_MESSAGE(line["state"] == "live", line.dump());
    CHECK_MESSAGE(line["refusal"] == "", line.dump());
    CHECK(metric(relay.admin_port(), "headgate_relay_commit_failures_total{sink=\"" + sink + "\"}") > 0);
  }
}

}  // namespace

TEST_SUITE("robustness/refusals") {
  TEST_CASE(
      "refusals: servers refuse at random under load; nothing is lost, no event is blamed, and nobody has to help") {
    constexpr std::chrono::seconds kBrief = 25s;
    const bool with_kafka = attack_time(kBrief) > kBrief;
    if (find_program("psql").empty()) HG_SKIP("no psql on this machine");
    Roles roles;
    if (roles.database == nullptr) HG_SKIP("no PostgreSQL server binaries on this machine");
    std::set<std::string> subscribed = {"file", "redis_streams", "redis_pubsub"};
    if (with_kafka) subscribed.insert("kafka");
    HG_WORLD(world, {.sinks = subscribed,
                     .engine_yaml = "  connect_timeout: 2s\n  statement_timeout: 1s\nfeed:\n  hang_max: 1500ms\n",
                     .database_uri = roles.uri(roles.engine),
                     .subscribe = subscribed,
                     .own_kafka = with_kafka,
                     .kafka_users = with_kafka});
    BothNats nats(world->folder());
    make_stream(nats.jetstream.admin(), world->prefix(), world->prefix() + ".js.>", {});
    world->subscribers()["nats_jetstream"] =
        subscribe_jetstream(nats.jetstream.admin(), world->prefix(), world->prefix() + ".js.>");
    world->subscribers()["nats_core"] = subscribe_nats_core(nats.core.admin(), world->prefix() + ".core.>");
    for (const auto& [sink, subscriber] : world->subscribers()) REQUIRE(subscriber->wait_ready(20s));
    let_relay_in(*world, with_kafka);
    world->create_tenants({"r1", "r2", "r3"});
    Beacon beacon(*world);
    std::set<std::string> sinks;
    for (const auto& [sink, subscriber] : world->subscribers()) sinks.insert(sink);
    RelayProgram relay(world->folder(), "refused",
                       relay_yaml(*world, nats, roles.uri(roles.tokens), with_kafka ? world->kafka_users() : ""));
    relay.start();
    Load load({.engine = world->engine().address(),
               .tenants = {"r1", "r2", "r3"},
               .api_writers = 3,
               .sql_writers = 0,
               .transactions = 10'000'000,
               .rate = 150,
               .through_outages = true});
    REQUIRE(load.wait_for(200, 60s));
    beacon.light("the start", sinks, kAfterRefusals);

    std::vector<Refusal> refusals = redis_refusals(*world);
    for (auto& more : {nats_refusals(*world, nats), postgres_refusals(roles),
                       with_kafka ? kafka_refusals(*world) : std::vector<Refusal>{}}) {
      refusals.insert(refusals.end(), more.begin(), more.end());
    }
    RefusalAttack attack(refusals, attack_seed());
    attack.run(attack_time(kBrief));

    beacon.light(std::to_string(attack.strikes()) + " refusals", sinks, kAfterRefusals);
    // What was on its way when a server refused may come again where nobody tells copies apart.
    check_aftermath(*world, load, sinks, {"kafka", "nats_core", "redis_pubsub"}, 60s);
    check_told(relay, refusals, sinks);
    const std::string log = read_file(relay.log_file());
    CHECK(log.find("rpw") == std::string::npos);
    CHECK(relay.stop(30s) == 0);
  }
}
