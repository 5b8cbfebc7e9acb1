// A quiet tenant beside one that is not: from its commits to a subscriber of each sink, alone and while another tenant
// is deleted from, floods, or writes large values.
#include <fmt/format.h>

#include <atomic>
#include <pqxx/pqxx>

#include "tests/bench/api_load.h"
#include "tests/bench/backlog.h"
#include "tests/bench/shared.h"
#include "tests/support/engine_session.h"
#include "tests/support/engine_stubs.h"
#include "tests/support/load.h"
#include "tests/support/world.h"

namespace {

using namespace headgate::bench;
using namespace headgate::testing;
using namespace std::chrono_literals;

constexpr double kRate = 50;
constexpr double kAloneSeconds = 6;
constexpr int kDeleted = 200'000;
constexpr auto kDisturbed = 8s;
const std::set<std::string> kSinks = {"file", "kafka", "nats_jetstream", "redis_streams"};

// Delays of the quiet tenant's events by sink, in milliseconds.
using Delays = std::map<std::string, std::vector<double>>;

size_t changes_of(const Subscriber& sink, const std::string& tenant) {
  const std::vector<Received> all = sink.received();
  return static_cast<size_t>(std::ranges::count_if(
      all, [&](const Received& event) { return event.tenant == tenant && event.is_changes() && !event.more_parts; }));
}

class Quiet {
 public:
  explicit Quiet(World& world) : world_(world) {}

  // Writes at a constant rate until `over` says so, then waits until every sink has all of it.
  Delays write(const std::function<bool()>& over) {
    while (!over()) {
      const ApiResult made = run_load(ApiLoad{.engine = world_.engine().address(),
                                              .tenants = {"quiet"},
                                              .rate = kRate,
                                              .transactions = static_cast<size_t>(kRate / 2),
                                              .prefix = "q" + std::to_string(++rounds_) + "_"});
      written_ += made.acknowledged;
    }
    std::map<uint64_t, int64_t> committed;
    for (const auto& [xid, time] : commit_times(world_.database_uri())) committed.emplace(xid, time);
    Delays delays;
    for (const auto& entry : world_.subscribers()) {
      const std::string& sink = entry.first;
      const Subscriber& subscriber = *entry.second;
      CHECK_MESSAGE(wait_until([&] { return changes_of(subscriber, "quiet") >= written_; }, 120s), sink);
      size_t seen = 0;
      for (const Received& event : subscriber.received()) {
        if (event.tenant != "quiet" || !event.is_changes() || ++seen <= counted_) continue;
        delays[sink].push_back(static_cast<double>(event.received_at_us - committed.at(event.xid)) / 1'000);
      }
      CHECK_MESSAGE(seen == written_, sink);
    }
    counted_ = written_;
    return delays;
  }

 private:
  World& world_;
  int rounds_ = 0;
  size_t written_ = 0, counted_ = 0;
};

void add_rows(const std::string& beside, const Delays& alone, const Delays& disturbed) {
  for (const auto& [sink, ms] : disturbed) {
    const double limit = percentile(alone.at(sink), 0.99), p99 = percentile(ms, 0.99);
    table().add({fmt::format("a quiet tenant's commit to {} beside {}: p50 / p99 / max", sink, beside),
                 fmt::format("{} / {} / {}", milliseconds(percentile(ms, 0.5)), milliseconds(p99),
                             milliseconds(percentile(ms, 1))),
                 milliseconds(limit) + " p99 alone in the same run", ratio(p99, limit),
                 fmt::format("{} events at {}/s, four sinks in one relay, each event once", ms.size(), kRate)});
  }
  table().save();
}

std::unique_ptr<World> make_world() {
  static int counter = 0;
  return World::create({.sinks = kSinks,
                        .engine_yaml = kManyStreams,
                        .database_uri = database().make("neighbour" + std::to_string(++counter)),
                        .subscribe = kSinks});
}

// Alone, then beside what `disturb` does in a thread of its own until it returns.
void measure(const std::string& beside, World& world, const std::function<void()>& disturb) {
  Quiet quiet(world);
  const auto end = Clock::now() + std::chrono::duration<double>(kAloneSeconds);
  quiet.write([&, warm = false]() mutable { return std::exchange(warm, true); });
  const Delays alone = quiet.write([&] { return Clock::now() > end; });
  std::atomic<bool> over = false;
  std::jthread thread([&] {
    disturb();
    over = true;
  });
  const Delays disturbed = quiet.write([&] { return over.load(); });
  add_rows(beside, alone, disturbed);
}

}  // namespace

TEST_SUITE("bench/neighbours") {
  TEST_CASE("neighbours: beside one deletion of 200,000 relationships") {
    const auto world = make_world();
    if (world == nullptr) return;
    world->create_tenants({"quiet", "loud"});
    EngineSession session(world->database_uri());
    session.begin("loud");
    session.add_many(kDeleted);
    session.commit();
    world->relay().start();
    measure("one deletion of 200,000 relationships", *world, [&] {
      grpc::ClientContext context;
      set_deadline(context, 120s);
      base::v1::DataDeleteRequest request;
      request.set_tenant_id("loud");
      request.mutable_tuple_filter()->mutable_entity()->set_type("doc");
      request.mutable_attribute_filter();
      base::v1::DataDeleteResponse response;
      const grpc::Status status = world->client().stubs().data->Delete(&context, request, &response);
      CHECK_MESSAGE(status.ok(), status.error_message());
      CHECK(wait_until(
          [&] {
            return std::ranges::all_of(world->subscribers(),
                                       [](const auto& one) { return changes_of(*one.second, "loud") == 1; });
          },
          120s));
    });
  }

  TEST_CASE("neighbours: beside a flood") {
    const auto world = make_world();
    if (world == nullptr) return;
    world->create_tenants({"quiet", "loud"});
    world->relay().start();
    measure("a flood of another tenant's writes", *world, [&] {
      run_load(ApiLoad{.engine = world->engine().address(),
                       .tenants = {"loud"},
                       .seconds = std::chrono::duration<double>(kDisturbed).count(),
                       .prefix = "f"});
    });
  }

  TEST_CASE("neighbours: beside large values") {
    const auto world = make_world();
    if (world == nullptr) return;
    world->create_tenants({"quiet"});
    world->client().create_tenant("loud", "entity doc {\n attribute note string\n}\n");
    world->relay().start();
    measure("values of 800 kB, ten a second", *world, [&] {
      EngineClient client(world->engine().address());
      base::v1::StringValue value;
      value.set_data(std::string(800'000, 'x'));
      const auto end = Clock::now() + kDisturbed;
      for (int i = 0; Clock::now() < end; ++i) {
        const auto next = Clock::now() + 100ms;
        const std::string id = std::to_string(i % 5);
        base::v1::Attribute note = make_integer("doc", id, "note", 0);
        note.mutable_value()->PackFrom(value);
        const WriteAnswer answer = client.write("loud", {}, {note});
        CHECK_MESSAGE(answer.status.ok(), answer.status.error_message());
        headgate::system_clock().sleep(std::chrono::duration_cast<headgate::Duration>(next - Clock::now()), {});
      }
    });
  }
}
