// A disk that is really full, under the file sink and under the token store.
#include "tests/robustness/small_disk.h"
#include "tests/robustness/survival.h"
#include "tests/support/delivery.h"

TEST_SUITE("robustness/limits_disk") {
  using namespace headgate::testing;
  using namespace std::chrono_literals;
  using nlohmann::json;

  constexpr size_t kMiB = 1 << 20;

  std::string redis_text(World & world) {
    return "port: " + std::to_string(world.redis().port()) + "\nprefix: r\n" + kSmallSink;
  }

  TEST_CASE("file sink on a full disk: the relay stays small, the other sink is not slowed, and nothing is lost") {
    HG_WORLD(world, {.sinks = {"redis_streams"}, .subscribe = {}});
    std::string reason;
    const auto disk = SmallDisk::mount(world->folder() + "/disk", 20 * kMiB, &reason);
    if (disk == nullptr) HG_SKIP(reason);
    const std::string path = disk->path() + "/events.jsonl";
    const auto relay = make_relay(
        *world, "limited",
        {{"file", "file", "path: " + path + "\n" + kSmallSink}, {"redis", "redis_streams", redis_text(*world)}},
        kSmallRelay);
    const auto file = subscribe_file(path);
    const auto redis = subscribe_redis_streams(world->redis().address(), "r:*:changes");
    world->create_tenants({"t"});
    relay->start();
    survive(*world, *relay, *file, *redis,
            {.sink = "file",
             .other = "redis",
             .end = [&] { disk->resize(256 * kMiB); },
             .error = "No space left on device",
             .help = "free some space"});
  }

  // Delivery goes on for as many events as may come twice after a crash, and then waits for the store.
  TEST_CASE("token store on a full disk: delivery stops at its bound, visibly, also over a kill, and then goes on") {
    HG_WORLD(world, {.sinks = {"redis_streams"}, .subscribe = {}});
    std::string reason;
    const auto disk = SmallDisk::mount(world->folder() + "/disk", 4 * kMiB, &reason);
    if (disk == nullptr) HG_SKIP(reason);
    const std::string commit = "commit:\n  uncommitted_max: 100\n  retry:\n    max: 200ms\n";
    const auto relay =
        make_relay(*world, "limited", {{"redis", "redis_streams", redis_text(*world) + commit}},
                   std::string(kSmallRelay) + "tokens:\n  sqlite:\n    path: " + disk->path() + "/relay.db\n");
    const auto redis = subscribe_redis_streams(world->redis().address(), "r:*:changes");
    world->create_tenants({"t"});
    relay->start();
    const auto write = [&](const char* prefix, int transactions) {
      flood(world->database_uri(), {.tenant = "t", .prefix = prefix, .transactions = transactions, .bytes = 40'000});
    };
    write("calm", 100);
    REQUIRE(redis->wait_for(100, 30s));
    REQUIRE(wait_until([&] { return sink_status(*relay, "redis")["uncommitted"] == 0; }));
    const size_t before = relay->resident_bytes();
    const MemoryPeak peak(relay->pid());

    disk->fill();
    write("few", 20);
    CHECK(redis->wait_for(120, 30s));
    CHECK(wait_until([&] {
      const json line = sink_status(*relay, "redis");
      return line["uncommitted"] == 20 &&
             line["last_error"].get<std::string>().find("is full; free") != std::string::npos;
    }));
    write("many", 600);
    CHECK(wait_until([&] { return sink_status(*relay, "redis")["state"] == "blocked"; }));
    CHECK(metric(relay->admin_port(), "headgate_relay_commit_failures_total{sink=\"redis\"}") > 0);
    CHECK(json::parse(relay->status())["status"] == "degraded");
    CHECK(read_file(relay->log_file()).find("relay.db: cannot commit: its disk is full") != std::string::npos);
    CHECK(redis->count() < 400);
    MESSAGE("relay: " << before / kMiB << " MiB, at most " << peak.bytes() / kMiB << " MiB under attack");
    CHECK(memory_below(peak.bytes(), before + 16 * kMiB));

    relay->kill();
    relay->launch();
    CHECK(wait_until([&] {
      const auto page = http_get(relay->admin_port(), "/status");
      return page && json::parse(*page)["phase"] == "waiting_for_token_store" &&
             json::parse(*page)["phase_error"].get<std::string>().find("is full; free") != std::string::npos;
    }));
    CHECK_FALSE(http_get(relay->admin_port(), "/readyz").has_value());
    disk->empty();
    REQUIRE(redis->wait_for(720, 60s));
    CHECK(check_sink(read_truth(world->database_uri()), redis->received(), Repeats::kNone) == "");
    CHECK(wait_until([&] { return json::parse(relay->status())["status"] == "healthy"; }, 30s));
  }
}
