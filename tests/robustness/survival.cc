#include "tests/robustness/survival.h"

#include "tests/support/delivery.h"
#include "tests/support/truth.h"

namespace headgate::testing {

namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

constexpr size_t kEventBytes = 40'000;
constexpr int kCalm = 200;
constexpr int kUnderAttack = 800;
constexpr size_t kAll = kCalm + kUnderAttack;
// What the relay may grow by while 32 MB pass a sink that takes nothing: a batch in its hands, and what the allocator
// keeps; and when the sink catches up: also a private ring, and what gRPC and the client library hold of a stream.
constexpr size_t kGrowthMax = 16 << 20;
constexpr size_t kGrowthCatchingUpMax = 24 << 20;

std::chrono::duration<double> timed(const std::function<void()>& work) {
  const auto begin = Clock::now();
  work();
  return Clock::now() - begin;
}

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

std::string series(const std::string& name, const std::string& sink, const std::string& more = "") {
  return name + "{sink=\"" + sink + "\"" + more + "}";
}

// Of both sinks at once.
void check_visible(RelayProgram& relay, const Limit& limit) {
  nlohmann::json line;
  const bool seen = wait_until([&] {
    line = sink_status(relay, limit.sink);
    return line["state"] == "retrying" && contains(line["last_error"].get<std::string>(), limit.error);
  });
  CHECK_MESSAGE(seen, line.dump());
  CHECK_MESSAGE(contains(line["last_error"].get<std::string>(), limit.help), line["last_error"]);
  CHECK(nlohmann::json::parse(relay.status())["status"] == "degraded");
  CHECK(sink_status(relay, limit.other)["state"] == "live");
  const int port = relay.admin_port();
  CHECK(metric(port, series("headgate_relay_sink_state", limit.sink, ",state=\"retrying\"")) == 1);
  CHECK(metric(port, series("headgate_relay_sink_write_failures_total", limit.sink)) > 0);
  CHECK(metric(port, series("headgate_relay_sink_write_failures_total", limit.other)) == 0);
  CHECK(contains(read_file(relay.log_file()), limit.error));
}

}  // namespace

const char* const kSmallSink = "catch_up_bytes: 1MiB\nretry:\n  max: 500ms\n";
const char* const kSmallRelay = "hub:\n  bytes: 4MiB\n";

void survive(World& world, RelayProgram& relay, Subscriber& hit, Subscriber& other, const Limit& limit) {
  const auto calm = timed([&] {
    flood(world.database_uri(), {.tenant = "t", .prefix = "calm", .transactions = kCalm, .bytes = kEventBytes});
    REQUIRE(hit.wait_for(kCalm, 60s));
    REQUIRE(other.wait_for(kCalm, 60s));
  });
  const size_t before = relay.resident_bytes();
  const MemoryPeak peak(relay.pid());
  if (limit.begin) limit.begin();
  const auto attacked = timed([&] {
    flood(world.database_uri(),
          {.tenant = "t", .prefix = "attack", .transactions = kUnderAttack, .bytes = kEventBytes});
    REQUIRE_MESSAGE(other.wait_for(kAll, 90s), other.count());
  });
  CHECK(attacked < 3 * (calm / kCalm * kUnderAttack) + 5s);
  check_visible(relay, limit);
  CHECK(hit.count() < kAll);
  MESSAGE("relay: " << (before >> 20) << " MiB, at most " << (peak.bytes() >> 20) << " MiB under attack; "
                    << calm.count() << " s for " << kCalm << ", " << attacked.count() << " s for " << kUnderAttack);
  CHECK_MESSAGE(memory_below(peak.bytes(), before + kGrowthMax), (peak.bytes() - before));
  if (limit.end) limit.end();
  REQUIRE_MESSAGE(hit.wait_for(kAll, 90s), hit.count());
  const Truth truth = read_truth(world.database_uri());
  CHECK(check_sink(truth, hit.received(), Repeats::kNone) == "");
  CHECK(check_sink(truth, other.received(), Repeats::kNone) == "");
  CHECK(hit.faults() == std::vector<std::string>{});
  CHECK(wait_until([&] { return nlohmann::json::parse(relay.status())["status"] == "healthy"; }, 30s));
  CHECK_MESSAGE(memory_below(peak.bytes(), before + kGrowthCatchingUpMax), (peak.bytes() - before));
}

}  // namespace headgate::testing
