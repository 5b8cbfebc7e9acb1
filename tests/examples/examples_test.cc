// The examples, as a reader would start them, through everything that can happen to a feed; at the end what each of
// them holds is compared with what the engine says.
#include <filesystem>

#include "tests/examples/install.h"
#include "tests/examples/judge.h"
#include "tests/support/engine_session.h"
#include "tests/support/world.h"

TEST_SUITE("examples") {
  using namespace headgate::testing;
  using namespace std::chrono_literals;
  using nlohmann::json;

  const std::vector<std::string> kTenants = {"acme", "globex"};

  // The four programs. One that cannot be installed is left out, loudly; the rest is still shown.
  class Cast {
   public:
    explicit Cast(World& world) : world_(world) {
      const std::string redis = world.redis().address();
      const std::string prefix = world.prefix();
      add("copy", install_go("examples/event_sourced_copy"),
          {"-redis", redis, "-streams", prefix + ":*:changes", "-file", file("copy")});
      add("audit", install_node("examples/audit_log", "audit_log.js"),
          {"--nats", "nats://" + world.nats().address(), "--stream", prefix, "--file", file("audit")});
      add("signal", install_python("examples/signal_client", "signal_client.py"),
          {"--redis", redis, "--channels", prefix + ":*", "--file", file("signal")});
      if (!world.kafka().empty()) {
        add("invalidator", install_python("examples/cache_invalidator", "invalidator.py"),
            {"--kafka", world.kafka(), "--topic", prefix + ".permission-changes", "--group", prefix, "--redis", redis});
      }
    }

    bool has(const std::string& name) const { return programs_.contains(name); }
    Program& operator[](const std::string& name) { return *programs_.at(name); }
    std::string file(const std::string& name) const { return world_.folder() + "/" + name + ".json"; }
    json copy(const std::string& tenant) const {
      return read_json(file("copy")).value(world_.prefix() + ":{" + tenant + "}:changes", json::object());
    }
    json signal() const { return read_json(file("signal")); }
    std::vector<json> audit() const { return read_json_lines(file("audit")); }
    json cache(const std::string& tenant) const { return ask_redis(world_.redis(), {"HGETALL", "cache:" + tenant}); }
    uint64_t audited(const std::string& tenant) const {
      uint64_t last = 0;
      for (const json& line : audit()) {
        if (line.value("tenant", "") == tenant) last = line.value("sequence", last);
      }
      return last;
    }
    uint64_t invalidated(const std::string& tenant) const {
      const json answer = ask_redis(world_.redis(), {"HGET", "cache-state:" + tenant, "sequence"});
      return answer.is_null() ? 0 : std::stoull(answer.get<std::string>());
    }

    void start() {
      for (const auto& [name, program] : programs_) program->start();
    }
    void kill_and_start(const std::string& name) {
      if (!has(name)) return;
      programs_[name]->kill();
      std::filesystem::remove(programs_[name]->log_file());
      programs_[name]->start();
    }

   private:
    void add(const std::string& name, const Installed& installed, const std::vector<std::string>& words) {
      if (!installed.missing.empty()) return skip_case(installed.missing);
      std::vector<std::string> argv = installed.command;
      argv.insert(argv.end(), words.begin(), words.end());
      const std::string log = world_.folder() + "/example-" + name + ".log";
      const bool listens = name == "signal";
      programs_[name] = std::make_unique<Program>(
          Program::Options{.name = name, .argv = argv, .log_file = log, .ready = [log, listens] {
                             return !listens || read_file(log).find("listening") != std::string::npos;
                           }});
    }

    World& world_;
    std::map<std::string, std::unique_ptr<Program>> programs_;
  };

  // What an application does that caches what it reads: see the invalidator's fill.lua.
  void fill_cache(World & world, const std::string& tenant, const std::vector<std::string>& entities) {
    static const std::string script = read_file(HEADGATE_SOURCE_DIR "/examples/cache_invalidator/fill.lua");
    const json generation = ask_redis(world.redis(), {"HGET", "cache-state:" + tenant, "generation"});
    const Rows rows = engine_rows(world.client(), tenant, "");
    for (const std::string& entity : entities) {
      ask_redis(world.redis(),
                {"EVAL", script, "2", "cache:" + tenant, "cache-state:" + tenant, entity,
                 rows_of_entity(rows, entity).dump(), generation.is_null() ? "" : generation.get<std::string>()});
    }
  }

  // A day of two tenants: what the numbers count stays unique over all of them.
  class Application {
   public:
    explicit Application(World& world) : world_(world) {}

    // Shares, withdrawals, attributes that are set and set again.
    void work(const std::string& tenant, int steps) {
      for (int i = 0; i < steps; ++i) {
        const std::string doc = "doc:" + std::to_string(number_ % 7);
        const std::string user = "user:u" + std::to_string(number_++);
        switch (i % 4) {
          case 0: done(world_.client().write(tenant, {tuple_of(doc + "#viewer@" + user)})); break;
          case 1:
            done(world_.client().write(tenant, {tuple_of(doc + "#owner@" + user), tuple_of("group:g#member@" + user)},
                                       {make_boolean("doc", doc.substr(4), "public", i % 8 == 1)}));
            break;
          case 2: done(world_.client().write(tenant, {}, {make_integer("doc", doc.substr(4), "size", number_)})); break;
          default: done(world_.client().remove(tenant, "doc", doc.substr(4)));
        }
      }
    }
    void work(int steps) {
      for (const std::string& tenant : kTenants) work(tenant, steps);
    }
    void remove(const std::string& tenant) {
      grpc::ClientContext context;
      set_deadline(context);
      base::v1::TenantDeleteRequest request;
      request.set_id(tenant);
      base::v1::TenantDeleteResponse response;
      const grpc::Status status = world_.client().tenancy().Delete(&context, request, &response);
      REQUIRE_MESSAGE(status.ok(), status.error_message());
    }
    // Returns the row that it writes: whoever has it has everything before.
    std::string mark(const std::string& tenant) {
      const std::string row = "doc:mark#owner@user:m" + std::to_string(number_++);
      done(world_.client().write(tenant, {tuple_of(row)}));
      return row;
    }

   private:
    static void done(const WriteAnswer& answer) { REQUIRE_MESSAGE(answer.status.ok(), answer.status.error_message()); }

    World& world_;
    int number_ = 0;
  };

  uint64_t sequence_of(const std::vector<Received>& said, const std::string& row) {
    for (const Received& event : said) {
      const std::vector<std::string> texts = texts_of(event.changes);
      if (std::ranges::find(texts, "+" + row) != texts.end()) return event.sequence;
    }
    return 0;
  }

  // Writes a last row to each tenant and waits until every example has come to it, `but` one that cannot.
  void settle(World & world, Cast & cast, Application & application, const std::string& but = "") {
    const Subscriber& stream = world.subscriber("nats_jetstream");
    for (const std::string& tenant : kTenants) {
      const std::string row = application.mark(tenant);
      uint64_t last = 0;
      REQUIRE_MESSAGE(wait_until([&] { return (last = sequence_of(stream.received(), row)) != 0; }, 60s),
                      tenant << ": " << row << " does not arrive");
      const auto arrives = [&](const std::string& name, const std::function<uint64_t()>& at) {
        const bool there = !cast.has(name) || name == but || wait_until([&] { return at() >= last; }, 60s);
        CHECK_MESSAGE(there, name << " of " << tenant << " is at " << at() << " of " << last);
      };
      arrives("copy", [&] { return cast.copy(tenant).value("Sequence", uint64_t{0}); });
      arrives("audit", [&] { return cast.audited(tenant); });
      arrives("signal", [&] { return cast.signal().value(tenant, json::object()).value("sequence", uint64_t{0}); });
      arrives("invalidator", [&] { return cast.invalidated(tenant); });
    }
  }

  void compare(World & world, Cast & cast) {
    const std::vector<Received> said = world.subscriber("nats_jetstream").received();
    for (const std::string& tenant : kTenants) {
      CAPTURE(tenant);
      const Rows rows = engine_rows(world.client(), tenant, "");
      CHECK(check_sequences(said, tenant) == "");
      if (cast.has("copy")) {
        CHECK(cast.copy(tenant).at("Incomplete") == "");
        CHECK(check_copy(cast.copy(tenant), rows) == "");
      }
      if (cast.has("audit")) CHECK(check_audit(cast.audit(), said, tenant) == "");
      if (cast.has("signal")) CHECK(check_signal(cast.signal(), said, tenant) == "");
      if (cast.has("invalidator")) CHECK(check_cache(cast.cache(tenant), rows) == "");
    }
  }

  const std::string kJson = "    format: json\n";

  TEST_CASE("through kills, restarts and a lost connection every example ends where the engine is") {
    HG_WORLD(
        world,
        {.sinks = {"kafka", "nats_jetstream", "redis_pubsub", "redis_streams"},
         .subscribe = {"nats_jetstream"},
         .sink_yaml = {{"kafka", kJson}, {"nats_jetstream", kJson}, {"redis_pubsub", kJson}, {"redis_streams", kJson}},
         .relay_env = {{"HEADGATE_RELAY_TENANTS_ON_GAP", "from_head"}}});
    Cast cast(*world);
    Application application(*world);
    world->create_tenants(kTenants);
    cast.start();
    world->relay().start();

    // An ordinary day, and one transaction that travels in parts.
    application.work(12);
    fill_cache(*world, "acme", {"doc:0", "doc:1", "doc:mark"});
    application.work(12);
    EngineSession session(world->database_uri());
    session.begin("globex");
    session.add_many(6000, "many");
    session.commit();
    settle(*world, cast, application);
    compare(*world, cast);

    // The relay is killed, the engine is written to meanwhile.
    fill_cache(*world, "acme", {"doc:0", "doc:1", "doc:2", "doc:mark", "group:g"});
    fill_cache(*world, "globex", {"doc:0", "doc:3"});
    world->relay().kill();
    application.work(8);
    world->relay().start();
    application.work(4);
    settle(*world, cast, application);
    compare(*world, cast);

    // The examples are killed; the signal client knows nothing afterwards, and says so.
    for (const char* name : {"copy", "audit", "invalidator"}) {
      application.work(4);
      cast.kill_and_start(name);
    }
    application.work(4);
    cast.kill_and_start("signal");
    settle(*world, cast, application);
    compare(*world, cast);
    if (cast.has("signal")) CHECK(cast.signal()["acme"]["why"] == "joined");

    // A gap: signals that were sent while the client was cut off.
    if (cast.has("signal")) {
      cast["signal"].pause();
      ask_redis(world->redis(), {"CLIENT", "KILL", "TYPE", "pubsub"});
      application.work(4);
      settle(*world, cast, application, "signal");
      cast["signal"].resume();
      settle(*world, cast, application);
      compare(*world, cast);
      CHECK(cast.signal()["acme"]["why"].get<std::string>().rfind("missed", 0) == 0);
    }
    used_server("confluent-kafka, nats.js, go-redis, redis-py");
  }
}
