// The relay is killed, stopped and cut off from a sink while writers are at work: nothing is lost, order is kept, and
// what comes twice is only what nobody had acknowledged.
#include "relay/tokens/store_settings.h"
#include "tests/support/delivery.h"
#include "tests/support/load.h"
#include "tests/support/world.h"

namespace {

using namespace headgate::testing;
using namespace std::chrono_literals;

// Tenant -> sequence of the cursor, for one sink; read from the store of a relay that is not running.
using Places = std::map<std::string, uint64_t>;

std::map<std::string, Places> stored_places(World& world) {
  auto store = headgate::relay::make_sqlite_store("default", {.path = world.token_store_path()});
  REQUIRE_MESSAGE(store.ok(), headgate::describe(store.status()));
  std::map<std::string, Places> places;
  for (const std::string& sink : world.sinks()) {
    const auto cursors = (*store)->load(sink);
    REQUIRE(cursors.ok());
    for (const auto& [tenant, cursor] : *cursors) places[sink][tenant] = cursor.sequence;
  }
  return places;
}

uint64_t highest(const std::vector<Received>& events, const std::string& tenant) {
  uint64_t found = 0;
  for (const Received& event : events) {
    if (event.tenant == tenant) found = std::max(found, event.sequence);
  }
  return found;
}

// Asks again whenever an event has come; a copy of all events is not free.
bool wait_for_events(const Subscriber& subscriber, std::chrono::seconds timeout,
                     const std::function<bool(const std::vector<Received>&)>& enough) {
  const auto end = std::chrono::steady_clock::now() + timeout;
  for (;;) {
    const std::vector<Received> events = subscriber.received();
    if (enough(events)) return true;
    if (std::chrono::steady_clock::now() > end) return false;
    subscriber.wait_for(events.size() + 1, 200ms);
  }
}

// A cursor never leads: what it names is in the sink already, the subscriber only has to read it.
void check_never_ahead(World& world, const std::map<std::string, Places>& places) {
  for (const auto& place : places) {
    const auto& sink = place.first;
    const auto& cursors = place.second;
    for (const auto& cursor : cursors) {
      const auto& tenant = cursor.first;
      const auto& sequence = cursor.second;
      if (tenant.empty()) continue;  // the progress of the sink as a whole has no number
      const bool held = wait_for_events(world.subscriber(sink), 30s,
                                        [&](const auto& events) { return highest(events, tenant) >= sequence; });
      CHECK_MESSAGE(held, sink << "/" << tenant << ": the cursor is at " << sequence << ", the sink at "
                               << highest(world.subscriber(sink).received(), tenant));
    }
  }
}

// The j-th step back of a tenant goes to a place behind the cursor that the j-th kill left, or a later one did.
void check_only_tail_again(const std::string& sink, const std::vector<Received>& events,
                           const std::vector<std::map<std::string, Places>>& kills) {
  std::map<std::string, uint64_t> before;
  std::map<std::string, size_t> steps_back;
  for (const Received& event : events) {
    uint64_t& last = before[event.tenant];
    if (event.sequence <= last) {
      const size_t step = steps_back[event.tenant]++;
      REQUIRE_MESSAGE(step < kills.size(), sink << "/" << event.tenant << " went back more often than it was killed");
      const auto places = kills[step].find(sink);
      const bool known = places != kills[step].end() && places->second.contains(event.tenant);
      const uint64_t cursor = known ? places->second.at(event.tenant) : 0;
      CHECK_MESSAGE(event.sequence > cursor, sink << ": " << event.id << " came again behind its cursor");
    }
    last = event.sequence;
  }
}

size_t total_of(const Truth& truth) {
  size_t total = 0;
  for (const auto& [tenant, transactions] : truth) total += transactions.size();
  return total;
}

// Distinct events of a sink; repeats do not count.
bool wait_for_all(const Subscriber& subscriber, size_t total, std::chrono::seconds timeout) {
  return wait_for_events(subscriber, timeout, [&](const auto& events) {
    return events.size() >= total && events.size() - count_repeats(events).events >= total;
  });
}

bool is_exactly_once(const std::string& sink) { return sink == "redis_streams" || sink == "nats_jetstream"; }

// Goes on until it is stopped.
LoadOptions load_of(World& world) {
  return {.engine = world.engine().address(),
          .database = world.database_uri(),
          .tenants = {"k1", "k2", "k3"},
          .api_writers = 3,
          .sql_writers = 1,
          .transactions = 1'000'000,
          .rate = 400};
}

void let_it_write(const Load& load, size_t transactions) {
  REQUIRE_MESSAGE(load.wait_for(load.committed() + transactions, 90s), load.committed());
}

}  // namespace

TEST_SUITE("integration/relay_kill") {
  TEST_CASE("kill: after three kills under load each sink is complete and in order, and only the tail came twice") {
    HG_WORLD(world, {});
    world->create_tenants({"k1", "k2", "k3"});
    world->relay().start();
    Load load(load_of(*world));
    std::vector<std::map<std::string, Places>> kills;
    for (size_t i = 1; i <= 3; ++i) {
      let_it_write(load, 700);
      world->relay().kill();
      kills.push_back(stored_places(*world));
      check_never_ahead(*world, kills.back());
      world->relay().start();
    }
    let_it_write(load, 700);
    load.stop();
    CHECK(load.faults() == std::vector<std::string>{});
    const Truth truth = read_truth(world->database_uri());
    for (const auto& entry : world->subscribers()) {
      const auto& sink = entry.first;
      const auto& subscriber = entry.second;
      CHECK_MESSAGE(wait_for_all(*subscriber, total_of(truth), 60s),
                    sink << " has " << subscriber->count() << " of " << total_of(truth));
      const auto events = subscriber->received();
      CHECK_MESSAGE(check_sink(truth, events, is_exactly_once(sink) ? Repeats::kNone : Repeats::kAllowed) == "", sink);
      CHECK(subscriber->faults() == std::vector<std::string>{});
      check_only_tail_again(sink, events, kills);
      MESSAGE(sink << ": " << count_repeats(events).events << " repeats of " << total_of(truth) << " events");
    }
  }

  TEST_CASE("kill: with Kafka's transactions not even the tail comes twice") {
    HG_WORLD(world,
             {.sinks = {"kafka"}, .subscribe = {"kafka"}, .sink_yaml = {{"kafka", "    mode: transactional\n"}}});
    world->create_tenants({"k1", "k2", "k3"});
    world->relay().start();
    Load load(load_of(*world));
    for (int i = 0; i < 3; ++i) {
      let_it_write(load, 500);
      world->relay().kill();
      world->relay().start();
    }
    let_it_write(load, 500);
    load.stop();
    const Truth truth = read_truth(world->database_uri());
    const Subscriber& kafka = world->subscriber("kafka");
    CHECK_MESSAGE(kafka.wait_for(total_of(truth), 60s), kafka.count() << " of " << total_of(truth));
    CHECK(check_sink(truth, kafka.received(), Repeats::kNone) == "");
    CHECK(kafka.faults() == std::vector<std::string>{});
  }

  TEST_CASE("stop: a relay that drains under load goes on exactly there, without a repeat") {
    HG_WORLD(world, {});
    world->create_tenants({"k1", "k2", "k3"});
    world->relay().start();
    Load load(load_of(*world));
    for (size_t i = 1; i <= 2; ++i) {
      let_it_write(load, 700);
      CHECK(world->relay().stop(15s) == 0);
      check_never_ahead(*world, stored_places(*world));
      world->relay().start();
    }
    let_it_write(load, 700);
    load.stop();
    const Truth truth = read_truth(world->database_uri());
    for (const auto& entry : world->subscribers()) {
      const auto& sink = entry.first;
      const auto& subscriber = entry.second;
      CHECK_MESSAGE(subscriber->wait_for(total_of(truth), 60s), sink);
      CHECK_MESSAGE(check_sink(truth, subscriber->received(), Repeats::kNone) == "", sink);
    }
  }

  TEST_CASE("dead sink: the others go on without it, and it catches up when it returns") {
    HG_WORLD(world, {});
    world->create_tenants({"k1", "k2", "k3"});
    world->relay().start();
    Load load(load_of(*world));
    let_it_write(load, 700);
    world->redis().stop();
    let_it_write(load, 1'500);
    load.stop();
    const Truth truth = read_truth(world->database_uri());
    const auto depends_on_redis = [](const std::string& sink) { return sink.rfind("redis", 0) == 0; };
    for (const auto& entry : world->subscribers()) {
      const auto& sink = entry.first;
      const auto& subscriber = entry.second;
      if (depends_on_redis(sink)) continue;
      CHECK_MESSAGE(subscriber->wait_for(total_of(truth), 60s), sink);
      CHECK_MESSAGE(check_sink(truth, subscriber->received(), Repeats::kNone) == "", sink);
    }
    CHECK(world->subscriber("redis_streams").count() < total_of(truth));
    CHECK(world->relay().status().find("redis") != std::string::npos);

    world->redis().start();
    Subscriber& streams = world->subscriber("redis_streams");
    CHECK_MESSAGE(streams.wait_for(total_of(truth), 60s), streams.count());
    CHECK(check_sink(truth, streams.received(), Repeats::kNone) == "");
    CHECK(world->subscriber("redis_pubsub").faults() == std::vector<std::string>{});
  }
}
