// SIGHUP on the real programs: keys and passwords are renewed while both run, and what cannot be is named.
#include <nlohmann/json.hpp>

#include "tests/support/engine_session.h"
#include "tests/support/world.h"

TEST_SUITE("integration/reload") {
  using namespace headgate::testing;
  using namespace std::chrono_literals;
  using nlohmann::json;

  std::string redis_cli(const RedisServer& server, const std::string& password, std::vector<std::string> words) {
    const TempFolder folder;
    Process::Options options{.argv = {"redis-cli", "-p", std::to_string(server.port()), "--no-auth-warning"},
                             .log_file = folder.path() + "/out"};
    if (!password.empty()) options.argv.insert(options.argv.end(), {"-a", password});
    options.argv.insert(options.argv.end(), words.begin(), words.end());
    Process process(options);
    REQUIRE(process.wait(10s));
    return read_file(options.log_file);
  }

  struct Rig {
    explicit Rig(const std::string& database) : redis(folder.path() + "/redis"), writer(nullptr) {
      write_file(folder.path() + "/engine-keys", "one\n");
      write_file(folder.path() + "/relay-key", "one\n");
      write_file(folder.path() + "/password", "first\n");
      redis.start();
      redis_cli(redis, "", {"CONFIG", "SET", "requirepass", "first"});
      engine = std::make_unique<EngineProgram>(
          folder.path(), EngineOptions{.database_uri = database,
                                       .env = {{"HEADGATE_ENGINE_AUTHN_METHOD", "preshared"},
                                               {"HEADGATE_ENGINE_AUTHN_KEYS_FILE", folder.path() + "/engine-keys"}}});
      engine->start();
      writer = std::make_unique<EngineSession>(database);
      relay = std::make_unique<RelayProgram>(
          folder.path(), "relay", yaml(),
          std::map<std::string, std::string>{
              {"HEADGATE_RELAY_UPSTREAM_KEY_FILE", folder.path() + "/relay-key"},
              {"HEADGATE_RELAY_SINKS_0_PASSWORD_FILE", folder.path() + "/password"},
              {"HEADGATE_RELAY_TOKENS_REDIS_PASSWORD_FILE", folder.path() + "/password"}});
    }
    ~Rig() { print_logs_on_failure(folder.path()); }

    std::string yaml() const {
      const std::string server = "host: 127.0.0.1, port: " + std::to_string(redis.port());
      return "upstream: {address: \"" + engine->address() +
             "\", backoff: {max: 300ms}}\ntenants: {start: earliest}\ntokens: {kind: redis, redis: {" + server +
             "}}\nsinks:\n  - {name: redis, kind: redis_streams, stream: \"s:{tenant}\", retry: {max: 300ms}, " +
             server + "}\n";
    }
    bool logged(const std::string& text) const {
      return wait_until([&] { return read_file(relay->log_file()).find(text) != std::string::npos; });
    }
    bool delivered(const std::string& password, const std::string& entity) {
      return wait_until(
          [&] {
            return redis_cli(redis, password, {"--raw", "XRANGE", "s:t", "-", "+"}).find(entity) != std::string::npos;
          },
          20s);
    }

    TempFolder folder{"headgate-reload"};
    RedisServer redis;
    std::unique_ptr<EngineProgram> engine;
    std::unique_ptr<EngineSession> writer;
    std::unique_ptr<RelayProgram> relay;
  };

  TEST_CASE("reload: the relay takes new keys for engine, sink and token store over, and loses nothing meanwhile") {
    HG_POSTGRES(database);
    Rig rig(database->uri());
    rig.relay->start();
    rig.writer->write("t", "before");
    REQUIRE(rig.delivered("first", "before"));

    write_file(rig.folder.path() + "/engine-keys", "two\n");
    rig.engine->kill();
    rig.engine->start();
    redis_cli(rig.redis, "first", {"CONFIG", "SET", "requirepass", "second"});
    redis_cli(rig.redis, "second", {"CLIENT", "KILL", "TYPE", "normal"});
    rig.writer->write("t", "meanwhile");
    REQUIRE(wait_until([&] { return json::parse(rig.relay->status())["upstream"]["state"] == "waiting"; }, 20s));

    write_file(rig.folder.path() + "/relay-key", "two\n");
    write_file(rig.folder.path() + "/password", "second\n");
    rig.relay->signal(SIGHUP);
    CHECK(rig.logged("taken=\"sinks.0.password tokens.redis.password upstream.key\" need_restart=0"));
    CHECK(rig.delivered("second", "meanwhile"));
    CHECK(wait_until([&] {
      const json sink = json::parse(rig.relay->status())["sinks"][0];
      return sink["state"] == "live" && sink["uncommitted"] == 0 && sink["delivered"] > 0;
    }));
    rig.relay->kill();
    rig.relay->start();
    rig.writer->write("t", "after");
    CHECK(rig.delivered("second", "after"));
    CHECK(json::parse(rig.relay->status())["sinks"][0]["duplicates"] == 0);
  }

  TEST_CASE("reload: a setting that needs a new start is named each time, and a credential beside it is taken") {
    HG_POSTGRES(database);
    Rig rig(database->uri());
    rig.relay->start();
    const std::string file = rig.relay->argv()[2];
    std::string text = read_file(file);
    text.replace(text.find("earliest"), 8, "head");
    text.replace(text.find("s:{tenant}"), 10, "x:{tenant}");
    write_file(file, text + "log: {level: debug, format: json}\n");
    rig.relay->signal(SIGHUP);
    for (const char* name : {"log.format", "sinks.0.stream", "tenants.start"}) {
      CHECK_MESSAGE(rig.logged(std::string("needs_restart setting=") + name + " "), name);
    }
    CHECK(rig.logged("reloaded taken=log.level need_restart=3"));
    rig.relay->signal(SIGHUP);
    CHECK(rig.logged("reloaded taken=nothing need_restart=3"));
    rig.writer->write("t", "still");
    CHECK(rig.delivered("first", "still"));
  }

  TEST_CASE("reload: the engine names what it cannot take over") {
    HG_POSTGRES(database);
    const TempFolder folder;
    EngineProgram engine(folder.path(), {.database_uri = database->uri()});
    engine.start();
    const std::string file = engine.argv()[2];
    write_file(file, read_file(file) + "gc: {enabled: true}\nlog: {level: warn}\n");
    engine.signal(SIGHUP);
    CHECK(wait_until(
        [&] { return read_file(engine.log_file()).find("needs_restart setting=gc.enabled") != std::string::npos; }));
    print_logs_on_failure(folder.path());
  }
}
