// What each guard of the relay and its sinks is good for: the same attack twice, once as it is and once with the guard
// switched off. Only then the named validator must fire.
#include <filesystem>

#include "relay/tokens/store_settings.h"
#include "tests/robustness/aftermath.h"

namespace {

using namespace headgate::testing;
using namespace std::chrono_literals;

constexpr std::chrono::seconds kPatience = 45s;

// Sink -> what a validator said of it; "" when it found nothing.
using Verdicts = std::map<std::string, std::string>;

WorldOptions options_of(const std::set<std::string>& sinks, const std::string& guards_off) {
  WorldOptions options;
  options.sinks = options.subscribe = sinks;
  options.upstream_yaml = kQuickUpstream;
  options.sink_yaml = kQuickSinks;
  if (!guards_off.empty()) options.relay_env["HEADGATE_GUARDS_OFF"] = guards_off;
  return options;
}

LoadOptions load_of(World& world, size_t transactions, double rate = 0) {
  return {.engine = world.engine().address(),
          .database = world.database_uri(),
          .tenants = {"g1", "g2"},
          .api_writers = 2,
          .sql_writers = 1,
          .transactions = transactions,
          .rate = rate};
}

void write_some(World& world, size_t transactions, const std::string& prefix) {
  LoadOptions options = load_of(world, transactions);
  options.prefix = prefix;
  Load load(options);
  REQUIRE(load.wait(60s));
}

// Looks at the sinks once the beacon behind everything has come, or after a while without it.
Verdicts judge(World& world, Beacon& beacon, const std::set<std::string>& sinks, bool guards_are_off) {
  const uint64_t last = beacon.write(kPatience);
  for (const std::string& sink : sinks) {
    wait_until([&] { return beacon.arrived(sink, last); }, kPatience);
  }
  const Truth truth = read_truth(world.database_uri());
  Verdicts verdicts;
  for (const std::string& sink : sinks) {
    // The beacon is last of all, but of another stream or partition. What a guard that is off has lost never comes.
    wait_for_distinct(world.subscriber(sink), transactions_in(truth), guards_are_off ? 3s : kPatience);
    verdicts[sink] = check_sink(truth, world.subscriber(sink).received(), Repeats::kNone);
  }
  return verdicts;
}

// Redis takes no write while it has no memory left, but answers everything else.
void restart_redis(World& world, bool full) {
  world.redis().kill();
  std::vector<std::string>& argv = world.redis().argv();
  if (full) {
    argv.insert(argv.end(), {"--maxmemory", "1"});
  } else {
    argv.resize(argv.size() - 2);
  }
  world.redis().start();
}

bool redis_refuses(World& world) { return world.relay().status().find("OOM") != std::string::npos; }

uint64_t highest_sequence(const std::vector<Received>& events) {
  uint64_t highest = 0;
  for (const Received& event : events) highest = std::max(highest, event.sequence);
  return highest;
}

struct Refused {
  std::string never_ahead;  // of the cursors in the store against what Redis holds
  Verdicts sinks;
};

// The sink is away while the relay reads, then it refuses everything and the relay is killed, and both come back.
Refused kill_while_refused(const std::string& guards_off) {
  Refused found;
  const auto world = World::create(options_of({"file", "redis_streams"}, guards_off));
  REQUIRE(world != nullptr);
  world->create_tenants({"g1", "g2"});
  Beacon beacon(*world);
  world->redis().kill();
  world->relay().start();
  write_some(*world, 60, "a");
  beacon.light("Redis is gone", {"file"}, kPatience);
  restart_redis(*world, true);
  REQUIRE(wait_until([&] { return redis_refuses(*world); }, kPatience));
  // Until cursors that lead would have been committed: they are due as soon as the sink is idle.
  wait_until([] { return false; }, 1'500ms);
  world->relay().kill();
  {
    auto store = headgate::relay::make_sqlite_store("default", {.path = world->token_store_path()});
    REQUIRE(store.ok());
    const auto cursors = (*store)->load("redis_streams");
    REQUIRE(cursors.ok());
    const uint64_t held = highest_sequence(world->subscriber("redis_streams").received());
    for (const auto& [tenant, cursor] : *cursors) {
      if (cursor.sequence > held) found.never_ahead = tenant + ": the cursor leads what the sink holds";
    }
  }
  restart_redis(*world, false);
  world->relay().start();
  found.sinks = judge(*world, beacon, {"redis_streams"}, !guards_off.empty());
  return found;
}

// One sink is behind the other when the relay starts, while writers go on.
Verdicts catch_up_under_load(const std::string& guards_off) {
  const auto world = World::create(options_of({"file", "redis_streams"}, guards_off));
  REQUIRE(world != nullptr);
  world->create_tenants({"g1", "g2"});
  Beacon beacon(*world);
  write_some(*world, 60, "a");
  world->relay().start();
  beacon.light("the start", {"file", "redis_streams"}, kPatience);
  world->redis().kill();
  write_some(*world, 200, "b");
  beacon.light("Redis is gone", {"file"}, kPatience);
  CHECK(world->relay().stop(30s) == 0);
  world->redis().start();
  LoadOptions options = load_of(*world, 300, 150);
  options.prefix = "c";
  Load load(options);
  world->relay().start();
  REQUIRE(load.wait(60s));
  load.stop();
  return judge(*world, beacon, {"redis_streams"}, !guards_off.empty());
}

struct Replaced {
  bool says_fenced = false;
  std::string cursors;  // the first that went back
  Verdicts sinks;
};

std::map<std::string, uint64_t> stored(World& world, const std::string& sink) {
  auto store = headgate::relay::make_postgres_store("default", {.uri = world.database_uri()}, {});
  REQUIRE(store.ok());
  const auto cursors = (*store)->load(sink);
  REQUIRE(cursors.ok());
  std::map<std::string, uint64_t> places;
  for (const auto& [tenant, cursor] : *cursors) places[tenant] = cursor.sequence;
  return places;
}

// A relay stands still under load, another takes over, and the first wakes up with its buffers full.
Replaced wake_after_replacement(const std::string& guards_off) {
  // Nobody but the token store can refuse what goes to the last.
  const std::set<std::string> sinks = {"nats_jetstream", "redis_streams", "redis_pubsub"};
  WorldOptions options = options_of(sinks, guards_off);
  options.tokens = "postgres";
  Replaced found;
  const auto world = World::create(options);
  REQUIRE(world != nullptr);
  world->create_tenants({"g1", "g2"});
  Beacon beacon(*world);
  world->relay().start();
  beacon.light("the start", sinks, kPatience);
  {
    Load load(load_of(*world, 400, 250));
    REQUIRE(load.wait_for(100, 60s));
    world->relay().pause();
    // The streams of the engine fill the sleeper's buffers.
    REQUIRE(load.wait(60s));
  }
  const auto second = world->make_second_pod(options.relay_env);
  second->start();
  beacon.light("the replacement", sinks, kPatience);
  std::map<std::string, uint64_t> before;
  wait_until([&] { return !(before = stored(*world, "redis_pubsub")).empty(); }, 10s);
  wait_until([] { return false; }, 1'500ms);
  before = stored(*world, "redis_pubsub");
  world->relay().resume();
  const auto fenced = [&] {
    const auto status = http_get(world->relay().admin_port(), "/status");
    return status && status->find("\"fenced\": true") != std::string::npos;
  };
  found.says_fenced = wait_until(fenced, guards_off.empty() ? kPatience : 5s);
  for (const auto& [tenant, sequence] : stored(*world, "redis_pubsub")) {
    if (sequence < before[tenant]) found.cursors = tenant + ": the cursor went back";
  }
  world->relay().kill();
  found.sinks = judge(*world, beacon, {"nats_jetstream", "redis_streams"}, !guards_off.empty());
  second->kill();
  return found;
}

// Redis starts again without its data.
Verdicts lose_all_of_redis(const std::string& guards_off) {
  const auto world = World::create(options_of({"redis_streams"}, guards_off));
  REQUIRE(world != nullptr);
  world->create_tenants({"g1", "g2"});
  Beacon beacon(*world);
  write_some(*world, 60, "a");
  world->relay().start();
  beacon.light("the start", {"redis_streams"}, kPatience);
  world->redis().kill();
  std::filesystem::remove_all(world->folder() + "/redis/appendonlydir");
  world->redis().start();
  const uint64_t last = beacon.write(kPatience);
  wait_until([&] { return beacon.arrived("redis_streams", last); }, kPatience);
  // Who has read all the while remembers what was lost; a new reader sees what there is.
  world->subscribe({"redis_streams"});
  const Truth truth = read_truth(world->database_uri());
  wait_for_distinct(world->subscriber("redis_streams"), transactions_in(truth), guards_off.empty() ? kPatience : 3s);
  const auto received = world->subscriber("redis_streams").received();
  return {{"redis_streams", check_sink(truth, received, Repeats::kNone, {"SINK_LOST_EVENTS"})}};
}

// Answers of the broker are lost after it has stored what they answer.
std::string lose_acknowledgements(World& world, Beacon& beacon, const std::string& prefix, bool guards_are_off) {
  beacon.light("the start", {"kafka"}, kPatience);
  LoadOptions options = load_of(world, 1'000'000, 150);
  options.prefix = prefix;
  Load load(options);
  for (int round = 0; round < 5; ++round) {
    world.proxy("kafka").reset_after(FaultProxy::kToClient, 20);
    CHECK(wait_until([&] { return !world.proxy("kafka").reset_pending(); }, kPatience));
    beacon.light("a lost answer", {"kafka"}, kPatience);
  }
  load.stop();
  return judge(world, beacon, {"kafka"}, guards_are_off).at("kafka");
}

}  // namespace

TEST_SUITE("robustness/guards_relay") {
  TEST_CASE("refusing sink: cursors wait for the acknowledgement, and progress for the events before it") {
    const Refused guarded = kill_while_refused("");
    CHECK(guarded.never_ahead == "");
    CHECK(guarded.sinks.at("redis_streams") == "");
    CHECK(kill_while_refused("cursor_after_ack").never_ahead != "");
    const std::string lost = kill_while_refused("progress_after_events").sinks.at("redis_streams");
    MESSAGE("without progress_after_events: " << lost);
    CHECK(lost != "");
  }

  TEST_CASE("catch-up: a sink that is behind misses nothing and gets nothing twice") {
    CHECK(catch_up_under_load("").at("redis_streams") == "");
    for (const std::string& guard : {std::string("catch_up"), std::string("skip_repeats")}) {
      const std::string fault = catch_up_under_load(guard).at("redis_streams");
      MESSAGE("without " << guard << ": " << fault);
      CHECK_MESSAGE(fault != "", guard);
    }
  }

  TEST_CASE("replaced relay: what it wakes up with gets nowhere") {
    const Replaced guarded = wake_after_replacement("");
    CHECK(guarded.says_fenced);
    CHECK(guarded.cursors == "");
    CHECK(guarded.sinks == Verdicts{{"nats_jetstream", ""}, {"redis_streams", ""}});
    const Replaced off = wake_after_replacement("owner_epoch,stream_sequence,redis_epoch,redis_place");
    CHECK_FALSE(off.says_fenced);
    for (const auto& entry : off.sinks) {
      const auto& sink = entry.first;
      const auto& fault = entry.second;
      MESSAGE("without checks in " << sink << ": " << fault);
      CHECK_MESSAGE(fault != "", sink);
    }
  }

  TEST_CASE("lost data: what Redis has forgotten is sent again") {
    CHECK(lose_all_of_redis("").at("redis_streams") == "");
    const std::string fault = lose_all_of_redis("ask_sink").at("redis_streams");
    MESSAGE("without ask_sink: " << fault);
    CHECK(fault != "");
  }

  TEST_CASE("lost acknowledgements: Kafka stores nothing twice") {
    WorldOptions options = options_of({"kafka"}, "");
    options.proxied = {"kafka"};
    const auto world = World::create(options);
    if (world == nullptr || !world->sinks().contains("kafka")) return;
    world->create_tenants({"g1", "g2"});
    Beacon beacon(*world);
    world->relay().start();
    CHECK(lose_acknowledgements(*world, beacon, "a", false) == "");
    CHECK(world->relay().stop(30s) == 0);
    const auto unguarded = world->make_second_pod({{"HEADGATE_GUARDS_OFF", "kafka_idempotence"}});
    unguarded->start();
    const std::string fault = lose_acknowledgements(*world, beacon, "b", true);
    unguarded->kill();
    MESSAGE("without kafka_idempotence: " << fault);
    CHECK(fault != "");
  }
}
