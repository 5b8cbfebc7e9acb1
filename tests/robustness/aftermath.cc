#include "tests/robustness/aftermath.h"

namespace headgate::testing {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

namespace {

const char* const kTenant = "beacon";

const std::string kRetry = "    retry:\n      initial: 50ms\n      max: 500ms\n";

auto milliseconds_since(Clock::time_point begin) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - begin).count();
}

}  // namespace

const std::map<std::string, std::string> kQuickSinks = {
    {"redis_streams", "    connect_timeout: 1500ms\n    command_timeout: 1500ms\n" + kRetry},
    {"nats_jetstream", "    connect_timeout: 1500ms\n    ack_timeout: 1500ms\n    write_timeout: 1500ms\n" + kRetry},
    {"kafka", "    connect_timeout: 3s\n    write_timeout: 3s\n    recover_timeout: 6s\n" + kRetry},
};
const std::string kQuickUpstream =
    "  heartbeat_interval: 200ms\n  heartbeats_missed: 8\n  call_timeout: 1s\n"
    "  backoff:\n    initial: 50ms\n    max: 500ms\n";

Beacon::Beacon(World& world) : world_(world) {
  world.create_tenants({kTenant});
  for (const auto& [sink, subscriber] : world.subscribers()) {
    std::atomic<uint64_t>* const seen = &(*seen_)[sink];
    subscriber->on_event([seen, kept = seen_](const Received& event) {
      if (event.tenant == kTenant && event.xid > *seen) *seen = event.xid;
    });
  }
}

uint64_t Beacon::write(std::chrono::seconds bound) {
  const auto end = Clock::now() + bound;
  const std::string id = "b" + std::to_string(++count_);
  WriteAnswer answer;
  do {
    answer = world_.client().write(kTenant, {tuple_of("doc:" + id + "#owner@user:a")});
  } while (!answer.status.ok() && !wait_until([] { return false; }, 50ms) && Clock::now() < end);
  REQUIRE_MESSAGE(answer.status.ok(), "the engine takes no write: " << answer.status.error_message());
  return xid_of_token(answer.token);
}

void Beacon::light(const std::string& after, const std::set<std::string>& sinks, std::chrono::seconds bound) {
  const auto begin = Clock::now();
  const uint64_t xid = write(bound);
  std::string times = "written " + std::to_string(milliseconds_since(begin)) + " ms";
  std::set<std::string> missing = sinks;
  wait_until(
      [&] {
        std::erase_if(missing, [&](const std::string& sink) {
          if (!arrived(sink, xid)) return false;
          times += ", " + sink + " " + std::to_string(milliseconds_since(begin)) + " ms";
          return true;
        });
        return missing.empty();
      },
      bound);
  std::string late;
  for (const std::string& sink : missing) late += " " + sink;
  REQUIRE_MESSAGE(missing.empty(), "after " << after << " nothing comes any more to" << late << " (" << times << ")");
  MESSAGE("after " << after << ": " << times);
}

size_t transactions_in(const Truth& truth) {
  size_t total = 0;
  for (const auto& [tenant, transactions] : truth) total += transactions.size();
  return total;
}

bool wait_for_distinct(const Subscriber& subscriber, size_t total, std::chrono::seconds timeout) {
  const auto end = Clock::now() + timeout;
  for (;;) {
    if (subscriber.wait_for(total, 200ms)) {
      const std::vector<Received> events = subscriber.received();
      const size_t distinct = events.size() - count_repeats(events).events;
      if (distinct >= total) return true;
      // So many are missing at least.
      subscriber.wait_for(events.size() + (total - distinct), 200ms);
    }
    if (Clock::now() > end) return false;
  }
}

Truth check_aftermath(World& world, Load& load, const std::set<std::string>& sinks,
                      const std::set<std::string>& repeats_allowed, std::chrono::seconds bound) {
  load.stop();
  CHECK(load.faults() == std::vector<std::string>{});
  Truth truth = read_truth(world.database_uri());
  const size_t total = transactions_in(truth);
  for (const auto& entry : world.subscribers()) {
    const auto& sink = entry.first;
    const auto& subscriber = entry.second;
    if (!sinks.contains(sink)) continue;
    const bool complete = wait_for_distinct(*subscriber, total, bound);
    CHECK_MESSAGE(complete, sink << " has " << subscriber->count() << " of " << total);
    const auto events = subscriber->received();
    const Repeats repeats = repeats_allowed.contains(sink) ? Repeats::kAllowed : Repeats::kNone;
    const std::string fault = check_sink(truth, events, repeats);
    CHECK_MESSAGE(fault == "", sink << ": " << fault);
    CHECK(subscriber->faults() == std::vector<std::string>{});
    const RepeatCount count = count_repeats(events);
    MESSAGE(sink << ": " << count.events << " repeats of " << total << " events, over at most " << count.longest_way);
  }
  return truth;
}

}  // namespace headgate::testing
