// Everything on the path is killed with SIGKILL, or stopped and continued, at random moments under load. A seed repeats
// the schedule. Afterwards nothing is lost, order is kept, and all goes on without help.
#include <csignal>
#include <filesystem>
#include <random>

#include "tests/robustness/aftermath.h"
#include "tests/robustness/schedule.h"

namespace {

using namespace headgate::testing;
using namespace std::chrono_literals;

constexpr std::chrono::seconds kAfterKills = 60s;
// What a process may hold more at the end than after its first work: caches and rings of some thousand events.
constexpr size_t kMemoryMore = 48 << 20;

std::vector<pid_t> children_of(pid_t parent) {
  std::vector<pid_t> found;
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    const auto pid = static_cast<pid_t>(std::strtol(entry.path().filename().c_str(), nullptr, 10));
    if (pid <= 0) continue;
    const std::string stat = read_file("/proc/" + std::to_string(pid) + "/stat");
    const size_t name_end = stat.rfind(") ");
    if (name_end == std::string::npos) continue;
    if (std::strtol(stat.c_str() + name_end + 4, nullptr, 10) == parent) found.push_back(pid);
  }
  return found;
}

// A program and, for PostgreSQL, the processes that it has started.
void signal_all(Program& program, int number) {
  const std::vector<pid_t> children = children_of(program.pid());
  ::kill(program.pid(), number);
  for (const pid_t child : children) ::kill(child, number);
}

struct Blow {
  std::string victim;
  enum Kind { kKill, kPause } kind = kKill;
};
std::string text_of(const std::vector<Blow>& blows) {
  std::string text;
  for (const Blow& blow : blows) {
    text += (text.empty() ? "" : " and ") + std::string(blow.kind == Blow::kKill ? "kill " : "pause ") + blow.victim;
  }
  return text;
}

class KillAttack {
 public:
  KillAttack(World& world, uint64_t seed) : random_(seed) {
    // In the order in which they can start.
    victims_ = {{"postgres", &world.postgres()}, {"redis", &world.redis()}, {"nats", &world.nats()}};
    if (world.sinks().contains("kafka")) victims_.emplace_back("kafka", &world.kafka_server());
    victims_.emplace_back("engine", &world.engine());
    victims_.emplace_back("relay", &world.relay());
  }

  // Each program killed once and paused once, in the seed's order; then whatever comes, until `time` is over.
  void run(std::chrono::seconds time) {
    const auto end = std::chrono::steady_clock::now() + time;
    std::vector<Blow> first;
    for (const auto& [name, victim] : victims_) {
      first.push_back({name, Blow::kKill});
      first.push_back({name, Blow::kPause});
    }
    for (size_t i = first.size(); i > 1; --i) std::swap(first[i - 1], first[random_() % i]);
    for (const Blow& blow : first) strike({blow});
    while (std::chrono::steady_clock::now() < end) {
      std::vector<Blow> blows;
      for (size_t count = 1 + random_() % 2; count > 0; --count) {
        blows.push_back({victims_[random_() % victims_.size()].first, random_() % 2 == 0 ? Blow::kKill : Blow::kPause});
      }
      if (blows.size() == 2 && blows[0].victim == blows[1].victim) blows.pop_back();
      strike(blows);
    }
  }
  int blows() const { return blows_; }

 private:
  Program& program(const std::string& name) {
    for (const auto& [known, victim] : victims_) {
      if (known == name) return *victim;
    }
    throw std::logic_error("no victim " + name);
  }

  void strike(const std::vector<Blow>& blows) {
    const auto before = std::chrono::milliseconds(100 + random_() % 700);
    const auto length = std::chrono::milliseconds(50 + random_() % 1'500);
    wait_until([] { return false; }, before);
    MESSAGE("after " << before.count() << " ms " << text_of(blows) << " for " << length.count() << " ms");
    for (const Blow& blow : blows) {
      signal_all(program(blow.victim), blow.kind == Blow::kKill ? SIGKILL : SIGSTOP);
      if (blow.kind == Blow::kKill) program(blow.victim).kill();
    }
    wait_until([] { return false; }, length);
    for (const Blow& blow : blows) {
      if (blow.kind == Blow::kPause) signal_all(program(blow.victim), SIGCONT);
    }
    for (const auto& [name, victim] : victims_) {
      if (!victim->running()) start_again(*victim);
    }
    ++blows_;
  }

  std::mt19937_64 random_;
  std::vector<std::pair<std::string, Program*>> victims_;
  int blows_ = 0;
};

struct Memory {
  size_t relay = 0;
  size_t engine = 0;
};
Memory memory_of(World& world) { return {world.relay().resident_bytes(), world.engine().resident_bytes()}; }

WorldOptions options_of(bool with_kafka) {
  WorldOptions options;
  options.sinks = kDurableSinks;
  if (!with_kafka) options.sinks.erase("kafka");
  options.subscribe = options.sinks;
  options.upstream_yaml = kQuickUpstream;
  options.sink_yaml = kQuickSinks;
  // What is given up while a broker starts again may be stored all the same, and would come twice.
  options.sink_yaml["kafka"] = "    write_timeout: 15s\n    retry:\n      initial: 50ms\n      max: 500ms\n";
  options.own_postgres = true;
  options.own_kafka = with_kafka;
  return options;
}

}  // namespace

TEST_SUITE("robustness/kills") {
  TEST_CASE("kills: each program is killed and paused under load; nothing is lost, and nobody has to help") {
    constexpr std::chrono::seconds kBrief = 15s;
    const bool is_long = attack_time(kBrief) > kBrief;
    // A broker takes its time to start again.
    const auto world = World::create(options_of(is_long));
    if (world == nullptr) return;
    world->create_tenants({"k1", "k2", "k3"});
    Beacon beacon(*world);
    world->relay().start();
    Load load({.engine = world->engine().address(),
               .database = world->database_uri(),
               .tenants = {"k1", "k2", "k3"},
               .api_writers = 2,
               .sql_writers = 1,
               .transactions = 10'000'000,
               .rate = 150,
               .through_outages = true});
    REQUIRE(load.wait_for(300, 60s));
    beacon.light("the start", world->sinks(), kAfterKills);
    const Memory before = memory_of(*world);

    KillAttack attack(*world, attack_seed());
    attack.run(attack_time(kBrief));

    beacon.light(std::to_string(attack.blows()) + " blows", world->sinks(), kAfterKills);
    // Only the file and Kafka may repeat, and only because the relay was killed.
    const Truth truth = check_aftermath(*world, load, world->sinks(), {"file", "kafka"}, 60s);
    // The servers themselves hold the same, not only the subscriber that has read on all the while.
    for (const std::string& sink : {std::string("nats_jetstream"), std::string("redis_streams")}) {
      world->subscribe({sink});
      const Subscriber& fresh = world->subscriber(sink);
      CHECK_MESSAGE(wait_for_distinct(fresh, transactions_in(truth), 60s), sink);
      CHECK_MESSAGE(check_sink(truth, fresh.received(), Repeats::kNone) == "", sink);
    }
    const Memory after = memory_of(*world);
    MESSAGE("resident bytes: relay " << before.relay << " then " << after.relay << ", engine " << before.engine
                                     << " then " << after.engine);
    CHECK(memory_below(after.relay, before.relay + kMemoryMore));
    CHECK(memory_below(after.engine, before.engine + kMemoryMore));
    // One question alone may meet its time-out on a busy machine.
    for (const int port : {world->engine().admin_port(), world->relay().admin_port()}) {
      CHECK(wait_until([&] { return http_get(port, "/readyz").has_value(); }, 15s));
    }
  }
}
