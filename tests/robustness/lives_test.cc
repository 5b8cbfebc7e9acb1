// A random walk through the lives of tenants, over all sinks: created, written, deleted, made again, collected, too
// large, while any part of the path is killed. A seed repeats it. Afterwards every copy that a subscriber would keep is
// what the database holds, numbers are dense, and whatever is missing was announced.
#include <random>

#include "tests/robustness/aftermath.h"
#include "tests/robustness/copy.h"
#include "tests/robustness/schedule.h"
#include "tests/support/engine_session.h"
#include "tests/support/engine_stubs.h"

namespace {

using namespace headgate::testing;
using namespace std::chrono_literals;

class Walk {
 public:
  Walk(World& world, uint64_t seed, bool with_kafka)
      : world_(world),
        random_(seed),
        victims_{{"kill relay", &world.relay()},
                 {"kill engine", &world.engine()},
                 {"kill redis", &world.redis()},
                 {"kill nats", &world.nats()},
                 {"kill postgres", &world.postgres()}} {
    if (with_kafka) victims_.emplace_back("kill kafka", &world.kafka_server());
  }

  void run(std::chrono::seconds time) {
    const auto end = std::chrono::steady_clock::now() + time;
    while (std::chrono::steady_clock::now() < end || steps_ < 60) step();
  }

  const std::set<std::string>& tenants() const { return alive_; }
  std::string text() const {
    std::string text = std::to_string(steps_) + " steps";
    for (const auto& [name, count] : counts_) text += ", " + name + " " + std::to_string(count);
    return text;
  }

 private:
  size_t below(size_t bound) { return random_() % bound; }
  std::string some_tenant() { return "w" + std::to_string(below(5)); }
  std::string some_document() { return "doc:" + std::to_string(below(8)); }

  void step() {
    ++steps_;
    const std::string tenant = some_tenant();
    if (!alive_.contains(tenant)) return create(tenant);
    const size_t roll = below(100);
    if (roll < 62) return write(tenant);
    if (roll < 72) return remove_rows(tenant);
    if (roll < 78) return change_schema(tenant);
    if (roll < 84) return remove(tenant);
    if (roll < 88) return recreate(tenant);
    if (roll < 91) return collect(tenant);
    if (roll < 93) return write_too_much(tenant);
    strike();
  }

  // Again and again while a part of the path is away.
  template <typename Call>
  void insist(const char* name, Call call) {
    ++counts_[name];
    grpc::Status status;
    REQUIRE_MESSAGE(wait_until([&] { return (status = call()).ok(); }, 30s), name << ": " << status.error_message());
  }

  grpc::Status create_once(const std::string& tenant) {
    grpc::ClientContext context;
    set_deadline(context, 5s);
    base::v1::TenantCreateRequest request;
    request.set_id(tenant);
    request.set_name(tenant);
    base::v1::TenantCreateResponse answer;
    const grpc::Status status = world_.client().stubs().tenancy->Create(&context, request, &answer);
    const bool there = status.error_code() == grpc::StatusCode::ALREADY_EXISTS;
    return there ? grpc::Status::OK : status;
  }
  grpc::Status schema_once(const std::string& tenant) {
    grpc::ClientContext context;
    set_deadline(context, 5s);
    base::v1::SchemaWriteRequest request;
    request.set_tenant_id(tenant);
    request.set_schema(kSchema);
    base::v1::SchemaWriteResponse answer;
    return world_.client().stubs().schema->Write(&context, request, &answer);
  }

  void create(const std::string& tenant) {
    insist("create", [&] { return create_once(tenant); });
    insist("schema", [&] { return schema_once(tenant); });
    alive_.insert(tenant);
  }
  void change_schema(const std::string& tenant) {
    insist("schema", [&] { return schema_once(tenant); });
  }
  void write(const std::string& tenant) {
    std::vector<base::v1::Tuple> tuples;
    for (size_t i = 1 + below(3); i > 0; --i) {
      tuples.push_back(tuple_of(some_document() + "#viewer@user:" + std::to_string(below(12))));
    }
    insist("write", [&] { return world_.client().write(tenant, tuples).status; });
  }
  void remove_rows(const std::string& tenant) {
    const std::string id = std::to_string(below(8));
    insist("delete", [&] { return world_.client().remove(tenant, "doc", id).status; });
  }
  void remove(const std::string& tenant) {
    insist("remove", [&] {
      grpc::ClientContext context;
      set_deadline(context, 5s);
      base::v1::TenantDeleteRequest request;
      request.set_id(tenant);
      base::v1::TenantDeleteResponse answer;
      const grpc::Status status = world_.client().stubs().tenancy->Delete(&context, request, &answer);
      return status.error_code() == grpc::StatusCode::NOT_FOUND ? grpc::Status::OK : status;
    });
    alive_.erase(tenant);
  }
  void recreate(const std::string& tenant) {
    remove(tenant);
    create(tenant);
    write(tenant);
  }
  // While the relay is away, so that it needs what is gone.
  void collect(const std::string& tenant) {
    ++counts_["collect"];
    world_.relay().kill();
    for (int i = 0; i < 3; ++i) write(tenant);
    EngineSession(world_.database_uri()).collect(tenant);
    world_.relay().start();
  }
  // More than Kafka and NATS take at once; only an engine without a limit, or SQL, can write it.
  void write_too_much(const std::string& tenant) {
    ++counts_["too large"];
    EngineSession session(world_.database_uri());
    for (const size_t bytes : {1'500'000, 1}) {
      session.begin(tenant);
      session.set(
          "1", "note",
          R"({"@type": "type.googleapis.com/base.v1.StringValue", "data": ")" + std::string(bytes, 'x') + "\"}");
      session.commit();
    }
  }
  void strike() {
    const auto& [name, victim] = victims_[below(victims_.size())];
    ++counts_[name];
    victim->kill();
    wait_until([] { return false; }, std::chrono::milliseconds(below(400)));
    start_again(*victim);
  }

  World& world_;
  std::mt19937_64 random_;
  std::vector<std::pair<const char*, Program*>> victims_;
  std::set<std::string> alive_;
  std::map<std::string, int> counts_;
  int steps_ = 0;
};

// A broker takes its time to start again, and what was given up in that time may be stored all the same.
std::map<std::string, std::string> settings_of_sinks(bool with_kafka) {
  std::map<std::string, std::string> sinks = kQuickSinks;
  if (with_kafka) sinks["kafka"] = "    write_timeout: 15s\n    retry:\n      initial: 50ms\n      max: 500ms\n";
  for (const char* sink : {"file", "kafka", "redis_streams"}) {
    sinks[sink] += "    heartbeat:\n      scope: tenant\n      interval: 100ms\n";
  }
  return sinks;
}

}  // namespace

TEST_SUITE("robustness/lives") {
  TEST_CASE("walk: whatever tenants live through, copies are exact, numbers dense and gaps told") {
    constexpr std::chrono::seconds kBrief = 20s;
    const bool is_long = attack_time(kBrief) > kBrief;
    HG_WORLD(world, {.upstream_yaml = kQuickUpstream,
                     .sink_yaml = settings_of_sinks(is_long),
                     .own_postgres = true,
                     .own_kafka = is_long});
    world->relay().start();
    Walk walk(*world, attack_seed(), is_long);
    walk.run(attack_time(kBrief));
    MESSAGE(walk.text());
    // The last word of each tenant that lives.
    for (const std::string& tenant : walk.tenants()) {
      const auto write = [&] { return world->client().write(tenant, {tuple_of("doc:last#owner@user:last")}); };
      REQUIRE(wait_until([&] { return write().status.ok(); }, 30s));
    }
    for (const auto& entry : world->subscribers()) {
      const std::string& sink = entry.first;
      const auto& subscriber = entry.second;
      CAPTURE(sink);
      if (!kDurableSinks.contains(sink)) {
        CHECK(check_rising(subscriber->received()) == "");
        continue;
      }
      const bool repeats = sink == "kafka" || sink == "file";
      const auto settled = [&] {
        return check_copies(subscriber->received(), repeats, walk.tenants(), world->client());
      };
      wait_until([&] { return settled().empty(); }, 60s);
      CHECK(settled() == "");
      if (sink == "nats_jetstream") continue;  // its heartbeats are beside the stream
      int compared = 0;
      CHECK(check_watermarks(watermarks(subscriber->received(), repeats, 5), world->client(), compared) == "");
      CHECK(compared > 0);
      CHECK(subscriber->faults() == std::vector<std::string>{});
    }
  }
}
