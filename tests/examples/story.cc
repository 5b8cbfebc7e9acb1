#include "tests/examples/story.h"
#include "tests/support/engine_stubs.h"

#include <algorithm>
#include <filesystem>

namespace headgate::testing::examples {

using namespace std::chrono_literals;
using nlohmann::json;

WorldOptions options_of(const std::string& on_gap) {
  WorldOptions options{.sinks = {"kafka", "nats_jetstream", "redis_pubsub", "redis_streams"},
                       .subscribe = {"nats_jetstream"},
                       .relay_env = {{"HEADGATE_RELAY_TENANTS_ON_GAP", on_gap}}};
  for (const std::string& sink : options.sinks) options.sink_yaml[sink] = "    format: json\n";
  return options;
}

Cast::Cast(World& world) : world_(world) {
  const std::string redis = world.redis().address();
  const std::string prefix = world.prefix();
  add("copy", install_go("examples/event_sourced_copy"),
      {"-redis", redis, "-index", prefix + ":{streams}", "-file", file("copy")});
  add("audit", install_node("examples/audit_log", "audit_log.js"),
      {"--nats", "nats://" + world.nats().address(), "--stream", prefix, "--file", file("audit")});
  add("signal", install_python("examples/signal_client", "signal_client.py"),
      {"--redis", redis, "--channels", prefix + ":*", "--file", file("signal")});
  if (world.kafka().empty()) return;
  add("invalidator", install_python("examples/cache_invalidator", "invalidator.py"),
      {"--kafka", world.kafka(), "--topic", prefix + ".permission-changes", "--group", prefix, "--redis", redis});
}

void Cast::add(const std::string& name, const Installed& installed, const std::vector<std::string>& words) {
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

void Cast::start() {
  for (const auto& [name, program] : programs_) program->start();
}

void Cast::kill_and_start(const std::string& name) {
  if (!has(name)) return;
  programs_[name]->kill();
  std::filesystem::remove(programs_[name]->log_file());
  programs_[name]->start();
}

json Cast::copy(const std::string& tenant) const {
  return read_json(file("copy")).value(world_.prefix() + ":{" + tenant + "}:changes", json::object());
}

json Cast::cache(const std::string& tenant) const { return ask_redis(world_.redis(), {"HGETALL", "cache:" + tenant}); }

uint64_t Cast::place(const std::string& name, const std::string& tenant, const std::vector<Received>& said) const {
  if (name == "copy") return copy(tenant).value("Sequence", uint64_t{0});
  if (name == "signal") return said_sequence(signal(), said, tenant);
  if (name == "invalidator") {
    const json answer = ask_redis(world_.redis(), {"HGET", "cache-state:" + tenant, "sequence"});
    return answer.is_null() ? 0 : std::stoull(answer.get<std::string>());
  }
  uint64_t last = 0;
  for (const json& line : audit()) {
    if (line.value("tenant", "") == tenant) last = line.value("sequence", last);
  }
  return last;
}

namespace {

void done(const WriteAnswer& answer) { REQUIRE_MESSAGE(answer.status.ok(), answer.status.error_message()); }

uint64_t sequence_of(const std::vector<Received>& said, const std::string& row) {
  for (const Received& event : said) {
    const std::vector<std::string> texts = texts_of(event.changes);
    if (std::ranges::find(texts, "+" + row) != texts.end()) return event.sequence;
  }
  return 0;
}

// Looks again when an event has come, or a little later: each look costs something.
bool comes(const Subscriber& stream, const std::function<bool()>& predicate) {
  return wait_until([&] { return predicate() || (stream.wait_for_all(stream.received().size() + 1, 20ms) && false); },
                    60s);
}

}  // namespace

void Application::work(const std::string& tenant, int steps) {
  EngineClient& client = world_.client();
  for (int i = 0; i < steps; ++i) {
    const std::string id = std::to_string(number_ % 7);
    const std::string doc = "doc:" + id;
    const std::string user = "user:u" + std::to_string(number_++);
    switch (i % 4) {
      case 0: done(client.write(tenant, {tuple_of(doc + "#viewer@" + user)})); break;
      case 1:
        done(client.write(tenant, {tuple_of(doc + "#owner@" + user), tuple_of("group:g#member@" + user)},
                          {make_boolean("doc", id, "public", i % 8 == 1)}));
        break;
      case 2: done(client.write(tenant, {}, {make_integer("doc", id, "size", number_)})); break;
      default: done(client.remove(tenant, "doc", id));
    }
  }
}

void Application::work(int steps) {
  for (const std::string& tenant : kTenants) work(tenant, steps);
}

void Application::remove(const std::string& tenant) {
  grpc::ClientContext context;
  set_deadline(context);
  base::v1::TenantDeleteRequest request;
  request.set_id(tenant);
  base::v1::TenantDeleteResponse response;
  const grpc::Status status = world_.client().stubs().tenancy->Delete(&context, request, &response);
  REQUIRE_MESSAGE(status.ok(), status.error_message());
}

std::string Application::mark(const std::string& tenant) {
  const std::string row = "doc:mark#owner@user:m" + std::to_string(number_++);
  done(world_.client().write(tenant, {tuple_of(row)}));
  return row;
}

void Application::fill_cache(const std::string& tenant, const std::vector<std::string>& entities) {
  static const std::string script = read_file(HEADGATE_SOURCE_DIR "/examples/cache_invalidator/fill.lua");
  const json generation = ask_redis(world_.redis(), {"HGET", "cache-state:" + tenant, "generation"});
  const Rows rows = engine_rows(world_.client(), tenant, "");
  for (const std::string& entity : entities) {
    ask_redis(world_.redis(),
              {"EVAL", script, "2", "cache:" + tenant, "cache-state:" + tenant, entity,
               rows_of_entity(rows, entity).dump(), generation.is_null() ? "" : generation.get<std::string>()});
  }
}

void begin(World& world, Cast& cast) {
  world.create_tenants(kTenants);
  cast.start();
  world.relay().start();
}

void settle(World& world, const Cast& cast, Application& application, const std::string& but) {
  const Subscriber& stream = world.subscriber("nats_jetstream");
  for (const std::string& tenant : kTenants) {
    const std::string row = application.mark(tenant);
    uint64_t last = 0;
    REQUIRE_MESSAGE(comes(stream, [&] { return (last = sequence_of(stream.received(), row)) != 0; }),
                    tenant << ": " << row << " does not arrive");
    for (const char* name : {"copy", "audit", "signal", "invalidator"}) {
      if (!cast.has(name) || name == but) continue;
      const auto place = [&] { return cast.place(name, tenant, stream.received()); };
      CHECK_MESSAGE(comes(stream, [&] { return place() >= last; }),
                    name << " of " << tenant << " is at " << place() << " of " << last);
    }
  }
}

void compare(World& world, const Cast& cast, const Incomplete& incomplete) {
  const std::vector<Received> said = world.subscriber("nats_jetstream").received();
  for (const std::string& tenant : kTenants) {
    CAPTURE(tenant);
    const Rows rows = engine_rows(world.client(), tenant, "");
    CHECK(check_sequences(said, tenant) == "");
    if (cast.has("copy")) {
      const auto expected = incomplete.find(tenant);
      const std::string why = expected == incomplete.end() ? "" : expected->second;
      const std::string said_why = cast.copy(tenant).at("Incomplete");
      CHECK_MESSAGE((why.empty() ? said_why.empty() : said_why.starts_with(why)), said_why);
      if (why != "EVENT_REFUSED") CHECK(check_copy(cast.copy(tenant), rows) == "");
    }
    if (cast.has("audit")) CHECK(check_audit(cast.audit(), said, tenant) == "");
    if (cast.has("signal")) CHECK(check_signal(cast.signal(), said, tenant) == "");
    if (cast.has("invalidator")) CHECK(check_cache(cast.cache(tenant), rows) == "");
  }
}

size_t count_of(World& world, const std::string& tenant, const std::string& type) {
  const std::vector<Received> said = world.subscriber("nats_jetstream").received();
  return static_cast<size_t>(
      std::ranges::count_if(said, [&](const Received& event) { return event.tenant == tenant && event.type == type; }));
}

}  // namespace headgate::testing::examples
