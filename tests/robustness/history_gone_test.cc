// History that is collected at the source while a relay still needs it: before it starts, and in the middle of a
// private stream of a sink that is behind.
#include "tests/robustness/pressure.h"
#include "tests/support/delivery.h"
#include "tests/support/engine_session.h"

TEST_SUITE("robustness/history_gone") {
  using namespace headgate::testing;
  using namespace std::chrono_literals;
  using nlohmann::json;

  void collect(World & world, const std::string& tenant) { EngineSession(world.database_uri()).collect(tenant); }

  std::vector<Received> of_tenant(const Subscriber& subscriber, const std::string& tenant) {
    std::vector<Received> own;
    for (Received& event : subscriber.received()) {
      if (event.tenant == tenant) own.push_back(std::move(event));
    }
    return own;
  }

  TEST_CASE("policy fail: the tenant stops in the open, with a reason that can be read, and the others go on") {
    HG_WORLD(world, {.sinks = {"file"}, .subscribe = {"file"}, .tenants_yaml = "  on_gap: fail\n"});
    world->create_tenants({"gone", "kept"});
    EngineSession writer(world->database_uri());
    writer.write("gone", "1");
    writer.write("kept", "1");
    world->relay().start();
    Subscriber& file = world->subscriber("file");
    REQUIRE(file.wait_for(2, 20s));
    CHECK(world->relay().stop() == 0);
    writer.write("gone", "2");
    writer.write("gone", "3");
    collect(*world, "gone");
    writer.write("kept", "2");
    world->relay().start();
    REQUIRE(file.wait_for(3, 20s));
    json line;
    REQUIRE(wait_until([&] {
      line = tenant_status(world->relay(), "gone")["file"];
      return line.is_object() && line["state"] == "HISTORY_GONE";
    }));
    CHECK_FALSE(line["last_error"].get<std::string>().empty());
    const auto told = of_tenant(file, "gone").back();
    CHECK(told.is_gap());
    CHECK(told.reason == "HISTORY_GONE");
    CHECK(line["sequence"] == told.sequence);
    const json stopped = json::parse(http_get(world->relay().admin_port(), "/status?stopped=1").value());
    REQUIRE(stopped["tenants"].size() == 1);
    CHECK(stopped["tenants"][0]["tenant"] == "gone");
    CHECK(stopped["status"] == "degraded");
    CHECK(stopped["upstream"]["failed_tenants"] == 1);
    const int port = world->relay().admin_port();
    CHECK(metric(port, "headgate_relay_sink_stopped_tenants{sink=\"file\"}") == 1);
    CHECK(metric(port, "headgate_relay_source_failed_tenants") == 1);
    CHECK(read_file(world->relay().log_file()).find("tenant_history_gone") != std::string::npos);
    writer.write("gone", "4");
    writer.write("kept", "3");
    REQUIRE(file.wait_for(4, 20s));
    CHECK(of_tenant(file, "gone").back().is_gap());
    const auto kept = of_tenant(file, "kept");
    CHECK(std::ranges::count_if(kept, [](const Received& event) { return event.is_changes(); }) == 3);
  }

  // The engine sends a page of history at a time, so a sink that stands still keeps most of it in the database.
  TEST_CASE(
      "from_head: history that goes in the middle of a catch-up becomes a GAP, and the sink goes on at the head") {
    HG_WORLD(world, {.sinks = {"file", "redis_streams"},
                     .engine_yaml = "feed:\n  ring_bytes: 1MiB\n  catch_up_bytes: 64KiB\n",
                     .subscribe = {}});
    const std::string redis = "port: " + std::to_string(world->redis().port()) +
                              "\nprefix: r\ncommand_timeout: 500ms\ncatch_up_bytes: 64KiB\nretry:\n  max: 200ms\n";
    const std::string path = world->folder() + "/gone.jsonl";
    const auto relay =
        make_relay(*world, "gone", {{"file", "file", "path: " + path + "\n"}, {"redis", "redis_streams", redis}},
                   "hub:\n  bytes: 64KiB\ntenants:\n  start: earliest\n  on_gap: from_head\n");
    const auto file = subscribe_file(path);
    const auto streams = subscribe_redis_streams(world->redis().address(), "r:*:changes");
    world->create_tenants({"t", "other"});
    relay->start();
    EngineSession(world->database_uri()).write("t", "first");
    REQUIRE(streams->wait_for(1, 20s));
    constexpr size_t kBehind = 600;
    const auto let_in = [&](const std::string& bytes) {
      REQUIRE(redis_command(world->redis(), "CONFIG SET maxmemory " + bytes) == "+OK");
    };
    let_in("1");
    flood(world->database_uri(), {.tenant = "t", .prefix = "x", .transactions = kBehind, .bytes = 40'000});
    REQUIRE(file->wait_for(kBehind + 1, 60s));
    // It catches up for as long as Redis takes some, and stands still in the middle.
    let_in("10mb");
    REQUIRE(streams->wait_for(60, 30s));
    REQUIRE(wait_until([&] { return sink_status(*relay, "redis")["state"] == "retrying"; }));
    CHECK(streams->count() < kBehind / 2);
    collect(*world, "t");
    let_in("0");
    REQUIRE(wait_until(
        [&] {
          const auto events = of_tenant(*streams, "t");
          return !events.empty() && events.back().is_gap();
        },
        60s));
    EngineSession(world->database_uri()).write("t", "last");
    REQUIRE(file->wait_for(kBehind + 2, 30s));
    const auto last = file->received().back();
    REQUIRE(wait_until([&] { return of_tenant(*streams, "t").back().id == last.id; }, 30s));
    const auto events = of_tenant(*streams, "t");
    CHECK(events.size() < kBehind);
    MESSAGE(events.size() << " events of " << kBehind + 2 << " and a GAP");
    for (size_t i = 0; i < events.size(); ++i) {
      CHECK(events[i].sequence == i + 1);
      const bool gap = i + 2 == events.size();
      CHECK(events[i].is_gap() == gap);
      if (gap) CHECK(events[i].reason == "HISTORY_GONE");
    }
    CHECK(file->count() == kBehind + 2);
    CHECK(read_file(relay->log_file()).find("sink-redis") != std::string::npos);
    CHECK(wait_until([&] { return json::parse(relay->status())["status"] == "healthy"; }, 30s));
  }
}
