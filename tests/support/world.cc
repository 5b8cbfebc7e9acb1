#include "tests/support/world.h"

#include <unistd.h>

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

RelayProgram::RelayProgram(const std::string& folder, const std::string& name, const std::string& yaml, int admin_port)
    : Program(
          {.name = "headgate-relay",
           .argv = {HEADGATE_RELAY_BINARY, "--config",
                    config_file(folder, name,
                                "admin:\n  address: 127.0.0.1\n  port: " + std::to_string(admin_port) + "\n" + yaml)},
           .log_file = folder + "/" + name + ".log",
           .ready = [admin_port] { return is_ready(admin_port); }}),
      admin_port_(admin_port) {}

RelayProgram::RelayProgram(const std::string& folder, const std::string& name, const std::string& yaml)
    : RelayProgram(folder, name, yaml, free_port()) {}

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

bool World::prepare() {
  const auto missing = [&](const std::string& reason) {
    skip_case(reason);
    return false;
  };
  const auto wants = [&](const char* part) {
    for (const std::string& sink : options_.sinks) {
      if (sink.rfind(part, 0) == 0) return true;
    }
    return false;
  };
  if (options_.database_uri.empty()) {
    database_ = PostgresDatabase::create();
    if (database_ == nullptr) return missing("no PostgreSQL server binaries (initdb, postgres) on this machine");
  }
  database_uri_ = database_ == nullptr ? options_.database_uri : database_->uri();
  if (wants("redis")) {
    if (find_program("redis-server").empty()) return missing("no redis-server on this machine");
    redis_ = std::make_unique<RedisServer>(folder_.path() + "/redis");
    used_server("redis");
  }
  if (wants("nats")) {
    if (find_program("nats-server").empty()) return missing("no nats-server on this machine");
    nats_ = std::make_unique<NatsServer>(folder_.path() + "/nats");
    used_server("nats-server");
  }
  if (wants("kafka")) {
    std::string reason;
    kafka_ = kafka_brokers(&reason);
    if (kafka_.empty()) {
      // Loud, and a failure with CI=true; what can be tested without Kafka still is.
      skip_case("without Kafka: " + reason);
      options_.sinks.erase("kafka");
    } else {
      used_server("kafka");
    }
  }
  return true;
}

void World::start_servers() {
  if (redis_ != nullptr) redis_->start();
  if (nats_ != nullptr) nats_->start();
  engine_ = std::make_unique<EngineProgram>(
      folder_.path(), EngineOptions{.database_uri = database_uri_, .more_yaml = options_.engine_yaml});
  engine_->start();
  client_ = std::make_unique<EngineClient>(engine_->address());
  relay_ = std::make_unique<RelayProgram>(folder_.path(), "relay", relay_yaml(options_.sinks, token_store_path_));
}

std::unique_ptr<RelayProgram> World::make_relay(const std::set<std::string>& sinks, const std::string& name) {
  return std::make_unique<RelayProgram>(folder_.path(), name, relay_yaml(sinks, folder_.path() + "/" + name + ".db"));
}

void World::subscribe(const std::set<std::string>& sinks) {
  const auto add = [&](const char* sink, auto make) {
    if (options_.sinks.contains(sink) && sinks.contains(sink)) subscribers_[sink] = make();
  };
  add("file", [&] { return subscribe_file(folder_.path() + "/events.jsonl"); });
  add("kafka", [&] { return subscribe_kafka(kafka_, prefix_ + ".permission-changes"); });
  add("nats_jetstream", [&] { return subscribe_jetstream(nats_->address(), prefix_, prefix_ + ".js.>"); });
  add("nats_core", [&] { return subscribe_nats_core(nats_->address(), prefix_ + ".core.>"); });
  add("redis_streams", [&] { return subscribe_redis_streams(redis_->address(), prefix_ + ":*"); });
  add("redis_pubsub", [&] { return subscribe_redis_pubsub(redis_->address(), prefix_ + ":*"); });
  for (const auto& [sink, subscriber] : subscribers_) {
    if (!subscriber->wait_ready(kReady)) throw std::runtime_error("cannot subscribe to " + sink);
  }
}

std::string World::relay_yaml(const std::set<std::string>& sinks, const std::string& store) const {
  std::string yaml = "upstream:\n  address: " + engine_->address() +
                     "\ntenants:\n  start: earliest\ntokens:\n  kind: sqlite\n  sqlite:\n    path: " + store +
                     "\nsinks:\n";
  const std::string redis_port = redis_ == nullptr ? "" : std::to_string(redis_->port());
  const std::string nats_url = "nats://" + (nats_ == nullptr ? "" : nats_->address());
  const std::map<std::string, std::string> settings = {
      {"file", "    path: " + folder_.path() + "/events.jsonl\n"},
      {"kafka",
       "    brokers: " + kafka_ + "\n    prefix: " + prefix_ + "\n    create_topics: true\n    partitions: 4\n"},
      {"nats_jetstream", "    url: " + nats_url + "\n    stream: " + prefix_ + "\n    prefix: " + prefix_ +
                             ".js\n    create_stream: true\n"},
      {"nats_core", "    url: " + nats_url + "\n    prefix: " + prefix_ + ".core\n"},
      {"redis_streams", "    port: " + redis_port + "\n    prefix: " + prefix_ + "\n"},
      {"redis_pubsub", "    port: " + redis_port + "\n    prefix: " + prefix_ + "\n"},
  };
  for (const std::string& sink : sinks) {
    yaml += "  - name: " + sink + "\n    kind: " + sink + "\n" + settings.at(sink);
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
