// The whole path in one object: PostgreSQL, engine, Redis, NATS, Kafka, one relay with every sink, and a subscriber for
// each sink. Every program can be stopped, killed, paused and started again; see servers.h.
//
//   TEST_CASE("...") {
//     HG_WORLD(world, {});
//     world->start_relay();
//
// When the case fails, the ends of all log files are printed as the world goes. Not thread-safe, and programs may only
// be started from the thread that runs the test: the kernel ends a child with the thread that made it.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "tests/support/engine_client.h"
#include "tests/support/fault_proxy.h"
#include "tests/support/kafka_server.h"
#include "tests/support/postgres.h"
#include "tests/support/servers.h"
#include "tests/support/subscribers.h"

namespace headgate::testing {

// A schema that load.h and the tests write against: doc (owner, viewer, public, size), group, user.
extern const char* const kSchema;

struct EngineOptions {
  std::string database_uri;
  std::string name = "engine";
  std::string more_yaml{};  // appended to the configuration
  std::map<std::string, std::string> env{};
};

class EngineProgram : public Program {
 public:
  EngineProgram(const std::string& folder, const EngineOptions& options);
  std::string address() const { return "127.0.0.1:" + std::to_string(port_); }
  int admin_port() const { return admin_port_; }

 private:
  EngineProgram(const std::string& folder, const EngineOptions& options, int port, int admin_port);

  int port_;
  int admin_port_;
};

class RelayProgram : public Program {
 public:
  // `yaml` is the configuration without its admin part; `env` is added to our environment.
  RelayProgram(const std::string& folder, const std::string& name, const std::string& yaml,
               const std::map<std::string, std::string>& env = {});
  int admin_port() const { return admin_port_; }
  // The answer of /status; throws when there is none.
  std::string status() const;

 private:
  RelayProgram(const std::string& folder, const std::string& name, const std::string& yaml,
               const std::map<std::string, std::string>& env, int admin_port);

  int admin_port_;
};

inline const std::set<std::string> kAllSinks = {"file",           "kafka",        "nats_core",
                                                "nats_jetstream", "redis_pubsub", "redis_streams"};

struct WorldOptions {
  std::set<std::string> sinks = kAllSinks;
  std::string engine_yaml{};
  std::string relay_yaml{};
  std::string database_uri{};                   // empty: a database of its own
  std::set<std::string> subscribe = kAllSinks;  // the sinks that are read from the start
  // Edges that lead through a FaultProxy: "upstream" (relay to engine), "database" (engine to PostgreSQL), "tokens",
  // "redis", "nats", "kafka". Subscribers, writers and the truth go past it.
  std::set<std::string> proxied{};
  std::string tokens = "sqlite";  // or "postgres" (the engine's database), "redis" (the server of the sinks)
  std::string tokens_yaml{};      // more of that section, and of the others
  std::string upstream_yaml{};
  std::string tenants_yaml{};
  std::map<std::string, std::string> sink_yaml{};
  bool own_postgres = false;  // a server that the test may kill
  bool own_kafka = false;     // likewise; a broker behind a proxy is always its own
  bool kafka_users = false;   // with own_kafka: also a listener for users who may do only what is granted
  std::map<std::string, std::string> relay_env{};
};

class World {
 public:
  // nullptr, and the case is marked as skipped, when a server is not to be had. Throws when one exists but fails.
  static std::unique_ptr<World> create(const WorldOptions& options);
  ~World();

  const std::string& database_uri() const { return database_uri_; }
  EngineProgram& engine() { return *engine_; }
  // The relay is started by the test, so that tenants can be there first.
  RelayProgram& relay() { return *relay_; }
  RedisServer& redis() { return *redis_; }
  NatsServer& nats() { return *nats_; }
  const std::string& kafka() const { return kafka_; }
  // Unique to this world: names on servers that are shared begin with it.
  const std::string& prefix() const { return prefix_; }
  // Only when the options ask for them.
  PostgresServer& postgres() { return *postgres_; }
  KafkaServer& kafka_server() { return *own_kafka_; }
  const std::string& kafka_users() const { return kafka_users_; }
  FaultProxy& proxy(const std::string& edge) { return *proxies_.at(edge); }
  EngineClient& client() { return *client_; }
  const std::string& folder() const { return folder_.path(); }
  const std::string& token_store_path() const { return token_store_path_; }
  const std::set<std::string>& sinks() const { return options_.sinks; }
  Subscriber& subscriber(const std::string& sink) { return *subscribers_.at(sink); }
  std::map<std::string, std::unique_ptr<Subscriber>>& subscribers() { return subscribers_; }

  // Starts reading these sinks as well.
  void subscribe(const std::set<std::string>& sinks);
  // Another relay with some of the sinks and a token store of its own; not started.
  std::unique_ptr<RelayProgram> make_relay(const std::set<std::string>& sinks, const std::string& name);
  // Another pod of the relay: the same sinks, name and token store (not sqlite); not started.
  std::unique_ptr<RelayProgram> make_second_pod(const std::map<std::string, std::string>& env = {});

  // Tenants with kSchema.
  void create_tenants(const std::vector<std::string>& tenants);

 private:
  explicit World(const WorldOptions& options);
  bool prepare();
  bool prepare_database();
  void prepare_kafka();
  void start_servers();
  bool wants(const char* sinks) const;
  // The port that leads to `port`: of a proxy, when the edge has one.
  int route(const std::string& edge, int port);
  std::string tokens_yaml(const std::string& store) const;
  std::string relay_yaml(const std::set<std::string>& sinks, const std::string& store) const;

  WorldOptions options_;
  TempFolder folder_;
  std::string prefix_;
  std::string database_uri_;
  std::string token_store_path_;
  std::string kafka_;
  // As the relay, or the engine, reaches them.
  std::string engine_database_uri_;
  std::string tokens_uri_;
  std::string engine_address_;
  std::string relay_kafka_;
  std::string kafka_users_;
  int relay_redis_port_ = 0;
  int tokens_redis_port_ = 0;
  int relay_nats_port_ = 0;
  std::unique_ptr<PostgresDatabase> database_;
  std::unique_ptr<PostgresServer> postgres_;
  std::unique_ptr<KafkaServer> own_kafka_;
  std::unique_ptr<RedisServer> redis_;
  std::unique_ptr<NatsServer> nats_;
  std::map<std::string, std::unique_ptr<FaultProxy>> proxies_;
  std::unique_ptr<EngineProgram> engine_;
  std::unique_ptr<EngineClient> client_;
  std::unique_ptr<RelayProgram> relay_;
  std::map<std::string, std::unique_ptr<Subscriber>> subscribers_;
};

// Prints the logs below `folder` when the running case has failed so far or an exception is on its way.
void print_logs_on_failure(const std::string& folder);

}  // namespace headgate::testing

#define HG_WORLD(name, ...)                                                                            \
  const auto name = ::headgate::testing::World::create(::headgate::testing::WorldOptions __VA_ARGS__); \
  if (name == nullptr) return
