#include "tests/support/world.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <stdexcept>

namespace headgate::testing {

namespace fs = std::filesystem;

const char* const kSchema =
    "entity user {}\n"
    "entity group {\n  relation member @user\n}\n"
    "entity doc {\n  relation owner @user\n  relation viewer @user @group#member\n"
    "  attribute public boolean\n  attribute size integer\n  permission view = viewer or owner or public\n}\n";

namespace {

constexpr std::chrono::seconds kReady(20);

// Whether the running case has failed so far: doctest itself does not tell.
bool case_failed = false;

struct FailureWatch : doctest::IReporter {
  explicit FailureWatch(const doctest::ContextOptions&) {}
  void report_query(const doctest::QueryData&) override {}
  void test_run_start() override {}
  void test_run_end(const doctest::TestRunStats&) override {}
  void test_case_start(const doctest::TestCaseData&) override { case_failed = false; }
  void test_case_reenter(const doctest::TestCaseData&) override {}
  void test_case_end(const doctest::CurrentTestCaseStats&) override {}
  void test_case_exception(const doctest::TestCaseException&) override { case_failed = true; }
  void subcase_start(const doctest::SubcaseSignature&) override {}
  void subcase_end() override {}
  void log_assert(const doctest::AssertData& data) override { case_failed |= data.m_failed; }
  void log_message(const doctest::MessageData&) override {}
  void test_case_skipped(const doctest::TestCaseData&) override {}
};
REGISTER_LISTENER("failure_watch", 1, FailureWatch);

std::string engine_yaml(const EngineOptions& options, int port, int admin_port) {
  return "server:\n  address: 127.0.0.1\n  port: " + std::to_string(port) +
         "\nadmin:\n  address: 127.0.0.1\n  port: " + std::to_string(admin_port) + "\ndatabase:\n  uri: \"" +
         options.database_uri + "\"\n" + options.more_yaml;
}

// Writes `text` beside the program's log and returns the path.
std::string config_file(const std::string& folder, const std::string& name, const std::string& text) {
  fs::create_directories(folder);
  const std::string path = folder + "/" + name + ".yaml";
  write_file(path, text);
  return path;
}

// Of "host:port", or of a uri that names the port; throws when there is none.
int port_of(const std::string& address) {
  const size_t colon = address.find("127.0.0.1:");
  if (colon == std::string::npos) throw std::runtime_error("no port of the loopback in " + address);
  return std::stoi(address.substr(colon + 10));
}

std::string with_port(std::string uri, int port) {
  const std::string old = std::to_string(port_of(uri));
  return uri.replace(uri.find("127.0.0.1:" + old) + 10, old.size(), std::to_string(port));
}

bool is_ready(int admin_port) { return port_answers(admin_port) && http_get(admin_port, "/readyz").has_value(); }

}  // namespace

EngineProgram::EngineProgram(const std::string& folder, const EngineOptions& options, int port, int admin_port)
    : Program({.name = "headgate-" + options.name,
               .argv = {HEADGATE_ENGINE_BINARY, "--config",
                        config_file(folder, options.name, engine_yaml(options, port, admin_port))},
               .env = options.env,
               .log_file = folder + "/" + options.name + ".log",
               .ready = [admin_port] { return is_ready(admin_port); }}),
      port_(port),
      admin_port_(admin_port) {}

EngineProgram::EngineProgram(const std::string& folder, const EngineOptions& options)
    : EngineProgram(folder, options, free_port(), free_port()) {}

RelayProgram::RelayProgram(const std::string& folder, const std::string& name, const std::string& yaml,
                           const std::map<std::string, std::string>& env, int admin_port)
    : Program(
          {.name = "headgate-relay",
           .argv = {HEADGATE_RELAY_BINARY, "--config",
                    config_file(folder, name,
                                "admin:\n  address: 127.0.0.1\n  port: " + std::to_string(admin_port) + "\n" + yaml)},
           .env = env,
           .log_file = folder + "/" + name + ".log",
           .ready = [admin_port] { return is_ready(admin_port); }}),
      admin_port_(admin_port) {}

RelayProgram::RelayProgram(const std::string& folder, const std::string& name, const std::string& yaml,
                           const std::map<std::string, std::string>& env)
    : RelayProgram(folder, name, yaml, env, free_port()) {}

std::string RelayProgram::status() const {
  const auto body = http_get(admin_port_, "/status");
  if (!body) throw std::runtime_error("the relay does not answer /status");
  return *body;
}

std::unique_ptr<World> World::create(const WorldOptions& options) {
  std::unique_ptr<World> world(new World(options));
  if (!world->prepare()) return nullptr;
  world->start_servers();
  world->subscribe(options.subscribe);
  return world;
}

World::World(const WorldOptions& options) : options_(options), folder_("headgate-world") {
  static std::atomic<int> counter{0};
  prefix_ = "hg" + std::to_string(::getpid()) + "n" + std::to_string(++counter);
  token_store_path_ = folder_.path() + "/relay.db";
}

World::~World() {
  // The relay first, so that nothing is written while the readers go.
  if (relay_ != nullptr) relay_->kill();
  subscribers_.clear();
  client_.reset();
  if (engine_ != nullptr) engine_->kill();
  print_logs_on_failure(folder_.path());
}

bool World::wants(const char* sinks) const {
  return std::ranges::any_of(options_.sinks, [&](const std::string& sink) { return sink.rfind(sinks, 0) == 0; });
}

int World::route(const std::string& edge, int port) {
  if (!options_.proxied.contains(edge)) return port;
  return (proxies_[edge] = std::make_unique<FaultProxy>(port))->port();
}

bool World::prepare_database() {
  database_uri_ = options_.database_uri;
  if (database_uri_.empty() && options_.own_postgres && !postgres_binaries().empty()) {
    postgres_ = std::make_unique<PostgresServer>(folder_.path() + "/postgres", std::vector<std::string>{});
    postgres_->start();
    database_uri_ = postgres_->uri();
  } else if (database_uri_.empty()) {
    database_ = PostgresDatabase::create();
    if (database_ == nullptr) return false;
    database_uri_ = database_->uri();
  }
  engine_database_uri_ = tokens_uri_ = database_uri_;
  for (const auto& [edge, uri] : {std::pair{"database", &engine_database_uri_}, std::pair{"tokens", &tokens_uri_}}) {
    if (!options_.proxied.contains(edge) || (edge == std::string("tokens") && options_.tokens != "postgres")) continue;
    *uri = with_port(*uri, route(edge, port_of(*uri)));
  }
  return true;
}

void World::prepare_kafka() {
  std::string reason;
  if (options_.own_kafka || options_.proxied.contains("kafka")) {
    own_kafka_ = KafkaServer::make(folder_.path() + "/kafka", &reason);
    if (own_kafka_ != nullptr) kafka_ = relay_kafka_ = own_kafka_->address();
    if (own_kafka_ != nullptr && options_.kafka_users) kafka_users_ = own_kafka_->listen_for_users();
    if (own_kafka_ != nullptr && options_.proxied.contains("kafka")) {
      const int port = route("kafka", own_kafka_->proxied_port());
      own_kafka_->advertise(port);
      relay_kafka_ = "127.0.0.1:" + std::to_string(port);
    }
  } else {
    kafka_ = relay_kafka_ = kafka_brokers(&reason);
  }
  if (!kafka_.empty()) return used_server("kafka");
  // Loud, and a failure with CI=true; what can be tested without Kafka still is.
  skip_case("without Kafka: " + reason);
  options_.sinks.erase("kafka");
}

bool World::prepare() {
  const auto missing = [&](const std::string& reason) {
    skip_case(reason);
    return false;
  };
  if (!prepare_database()) return missing("no PostgreSQL server binaries (initdb, postgres) on this machine");
  if (wants("redis") || options_.tokens == "redis") {
    if (find_program("redis-server").empty()) return missing("no redis-server on this machine");
    redis_ = std::make_unique<RedisServer>(folder_.path() + "/redis");
    relay_redis_port_ = route("redis", redis_->port());
    if (options_.tokens == "redis") tokens_redis_port_ = route("tokens", redis_->port());
    used_server("redis");
  }
  if (wants("nats")) {
    if (find_program("nats-server").empty()) return missing("no nats-server on this machine");
    nats_ = std::make_unique<NatsServer>(folder_.path() + "/nats");
    relay_nats_port_ = route("nats", nats_->port());
    used_server("nats-server");
  }
  if (wants("kafka")) prepare_kafka();
  return true;
}

void World::start_servers() {
  if (own_kafka_ != nullptr) own_kafka_->launch();
  if (redis_ != nullptr) redis_->start();
  if (nats_ != nullptr) nats_->start();
  engine_ = std::make_unique<EngineProgram>(
      folder_.path(), EngineOptions{.database_uri = engine_database_uri_, .more_yaml = options_.engine_yaml});
  engine_->start();
  if (own_kafka_ != nullptr) own_kafka_->await_ready();
  client_ = std::make_unique<EngineClient>(engine_->address());
  engine_address_ = "127.0.0.1:" + std::to_string(route("upstream", port_of(engine_->address())));
  relay_ = std::make_unique<RelayProgram>(folder_.path(), "relay", relay_yaml(options_.sinks, token_store_path_),
                                          options_.relay_env);
}

std::unique_ptr<RelayProgram> World::make_relay(const std::set<std::string>& sinks, const std::string& name) {
  return std::make_unique<RelayProgram>(folder_.path(), name, relay_yaml(sinks, folder_.path() + "/" + name + ".db"));
}

std::unique_ptr<RelayProgram> World::make_second_pod(const std::map<std::string, std::string>& env) {
  return std::make_unique<RelayProgram>(folder_.path(), "relay2", relay_yaml(options_.sinks, token_store_path_), env);
}

void World::subscribe(const std::set<std::string>& sinks) {
  const auto add = [&](const char* sink, auto make) {
    if (options_.sinks.contains(sink) && sinks.contains(sink)) subscribers_[sink] = make();
  };
  add("file", [&] { return subscribe_file(folder_.path() + "/events.jsonl"); });
  add("kafka", [&] { return subscribe_kafka(kafka_, prefix_ + ".permission-changes"); });
  add("nats_jetstream", [&] { return subscribe_jetstream(nats_->address(), prefix_, prefix_ + ".js.>"); });
  add("nats_core", [&] { return subscribe_nats_core(nats_->address(), prefix_ + ".core.>"); });
  add("redis_streams", [&] { return subscribe_redis_streams(redis_->address(), prefix_ + ":*:changes"); });
  add("redis_pubsub", [&] { return subscribe_redis_pubsub(redis_->address(), prefix_ + ":*"); });
  for (const auto& [sink, subscriber] : subscribers_) {
    if (!subscriber->wait_ready(kReady)) throw std::runtime_error("cannot subscribe to " + sink);
  }
}

std::string World::tokens_yaml(const std::string& store) const {
  std::string yaml = "tokens:\n  kind: " + options_.tokens + "\n";
  if (options_.tokens == "sqlite") yaml += "  sqlite:\n    path: " + store + "\n";
  if (options_.tokens == "postgres") yaml += "  postgres:\n    uri: \"" + tokens_uri_ + "\"\n" + options_.tokens_yaml;
  if (options_.tokens == "redis") {
    yaml += "  redis:\n    port: " + std::to_string(tokens_redis_port_) + "\n" + options_.tokens_yaml;
  }
  return yaml;
}

std::string World::relay_yaml(const std::set<std::string>& sinks, const std::string& store) const {
  std::string yaml = "upstream:\n  address: " + engine_address_ + "\n" + options_.upstream_yaml +
                     "tenants:\n  start: earliest\n" + options_.tenants_yaml + tokens_yaml(store) + "sinks:\n";
  const std::string redis_port = std::to_string(relay_redis_port_);
  const std::string nats_url = "nats://127.0.0.1:" + std::to_string(relay_nats_port_);
  const std::map<std::string, std::string> settings = {
      {"file", "    path: " + folder_.path() + "/events.jsonl\n"},
      {"kafka",
       "    brokers: " + relay_kafka_ + "\n    prefix: " + prefix_ + "\n    create_topics: true\n    partitions: 4\n"},
      {"nats_jetstream", "    url: " + nats_url + "\n    stream: " + prefix_ + "\n    prefix: " + prefix_ +
                             ".js\n    create_stream: true\n"},
      {"nats_core", "    url: " + nats_url + "\n    prefix: " + prefix_ + ".core\n"},
      {"redis_streams", "    port: " + redis_port + "\n    prefix: " + prefix_ + "\n"},
      {"redis_pubsub", "    port: " + redis_port + "\n    prefix: " + prefix_ + "\n"},
  };
  for (const std::string& sink : sinks) {
    yaml += "  - name: " + sink + "\n    kind: " + sink + "\n" + settings.at(sink);
    if (const auto more = options_.sink_yaml.find(sink); more != options_.sink_yaml.end()) yaml += more->second;
  }
  return yaml + options_.relay_yaml;
}

void World::create_tenants(const std::vector<std::string>& tenants) {
  for (const std::string& tenant : tenants) client_->create_tenant(tenant, kSchema);
}

void print_logs_on_failure(const std::string& folder) {
  if (!case_failed && std::uncaught_exceptions() == 0) return;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    const std::string path = entry.path().string();
    if (path.size() < 4 || path.compare(path.size() - 4, 4, ".log") != 0) continue;
    const std::string text = read_file(path);
    const size_t begin = text.size() > 6000 ? text.size() - 6000 : 0;
    std::printf("---- %s\n%s\n", path.c_str(), text.c_str() + begin);
  }
  std::fflush(stdout);
}

}  // namespace headgate::testing
