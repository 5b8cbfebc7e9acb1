// headgate-relay as a program: start, readiness, settings, memory, shutdown, a second owner, an engine without Feed.
#define CPPHTTPLIB_OPENSSL_SUPPORT
#define CPPHTTPLIB_ZLIB_SUPPORT
#define CPPHTTPLIB_BROTLI_SUPPORT
#include <httplib.h>

#include <nlohmann/json.hpp>

#include "tests/support/engine_session.h"
#include "tests/support/world.h"

TEST_SUITE("integration/relay") {
  using namespace headgate::testing;
  using namespace std::chrono_literals;
  using nlohmann::json;

  void write(World & world, const std::string& tenant, const std::string& tuple) {
    const WriteAnswer answer = world.client().write(tenant, {tuple_of(tuple)});
    REQUIRE_MESSAGE(answer.status.ok(), answer.status.error_message());
  }

  // Sequences in the order of arrival.
  std::vector<uint64_t> sequences(Subscriber & subscriber, const std::string& tenant) {
    std::vector<uint64_t> found;
    for (const Received& event : subscriber.received()) {
      if (event.tenant == tenant) found.push_back(event.sequence);
    }
    return found;
  }

  // Events of a tenant's life are numbered with its changes: what a test counts are the changes.
  bool has_changes(Subscriber & subscriber, const std::string& tenant, size_t changes) {
    return wait_until([&] {
      size_t found = 0;
      for (const Received& event : subscriber.received()) found += event.tenant == tenant && event.is_changes() ? 1 : 0;
      return found >= changes;
    });
  }
  void check_changes(Subscriber & subscriber, const std::string& tenant, size_t changes) {
    size_t found = 0;
    for (const Received& event : subscriber.received()) found += event.tenant == tenant && event.is_changes() ? 1 : 0;
    CHECK(found == changes);
    const std::vector<uint64_t> numbers = sequences(subscriber, tenant);
    for (size_t i = 0; i < numbers.size(); ++i) CHECK(numbers[i] == i + 1);
  }

  struct Ran {
    int code;
    std::string output;
  };
  Ran run(const std::vector<std::string>& arguments) {
    TempFolder folder;
    Process::Options options{.argv = {HEADGATE_RELAY_BINARY}, .log_file = folder.path() + "/log"};
    options.argv.insert(options.argv.end(), arguments.begin(), arguments.end());
    Process process(options);
    REQUIRE(process.wait(10s));
    return {process.exit_code(), read_file(options.log_file)};
  }

  TEST_CASE("relay: starts in a second, stays small, and goes on exactly where it stopped") {
    HG_WORLD(world, {.sinks = {"file"}, .subscribe = {"file"}});
    world->create_tenants({"a", "b"});
    const auto begin = std::chrono::steady_clock::now();
    world->relay().start();
    const auto took = std::chrono::steady_clock::now() - begin;
    CHECK_MESSAGE(took < 1s, std::chrono::duration_cast<std::chrono::milliseconds>(took).count() << " ms");
    Subscriber& file = world->subscriber("file");
    write(*world, "a", "doc:1#owner@user:u1");
    write(*world, "b", "doc:1#owner@user:u1");
    REQUIRE(has_changes(file, "a", 1));
    REQUIRE(has_changes(file, "b", 1));
    const size_t resident = world->relay().resident_bytes();
    CHECK_MESSAGE(memory_below(resident, 40u << 20), resident);
    CHECK(world->relay().stop() == 0);
    write(*world, "a", "doc:2#owner@user:u1");
    world->relay().start();
    write(*world, "a", "doc:3#owner@user:u1");
    REQUIRE(has_changes(file, "a", 3));
    CHECK(world->relay().stop() == 0);
    world->relay().start();
    write(*world, "b", "doc:2#owner@user:u1");
    REQUIRE(has_changes(file, "b", 2));
    check_changes(file, "a", 3);
    check_changes(file, "b", 2);
  }

  TEST_CASE("relay: tells its state, and neither an engine that went away nor a dead sink makes it unready") {
    HG_WORLD(world, {.sinks = {"file", "redis_streams"}, .subscribe = {"file"}});
    world->create_tenants({"a"});
    world->relay().start();
    const int port = world->relay().admin_port();
    write(*world, "a", "doc:1#owner@user:u1");
    Subscriber& file = world->subscriber("file");
    REQUIRE(has_changes(file, "a", 1));
    const uint64_t sequence = sequences(file, "a").back();
    REQUIRE(wait_until([&] { return json::parse(world->relay().status())["status"] == "healthy"; }));
    // The line is in the file a moment before it counts as delivered.
    json line;
    REQUIRE(wait_until([&] {
      line = json::parse(http_get(port, "/status?tenant=a").value())["tenants"][0];
      return line["sequence"] == sequence;
    }));
    CHECK(line["tenant"] == "a");
    CHECK(line["state"] == "ok");
    CHECK(json::parse(http_get(port, "/tenants/a").value())["sinks"].size() == 2);
    const std::string metrics = http_get(port, "/metrics").value();
    CHECK(metrics.find("headgate_relay_sink_events_total{sink=\"file\"} " + std::to_string(sequence) + "\n") !=
          std::string::npos);
    CHECK(http_get(port, "/readyz?verbose").value().find("sink file: live") != std::string::npos);

    world->redis().kill();
    write(*world, "a", "doc:2#owner@user:u1");
    REQUIRE(has_changes(file, "a", 2));
    REQUIRE(wait_until([&] { return json::parse(world->relay().status())["sinks"][1]["state"] == "retrying"; }));
    world->engine().kill();
    REQUIRE(wait_until([&] { return json::parse(world->relay().status())["upstream"]["state"] == "waiting"; }));
    CHECK(http_get(port, "/livez").has_value());
    CHECK(http_get(port, "/readyz").has_value());
    CHECK(json::parse(world->relay().status())["status"] == "degraded");

    world->redis().start();
    world->engine().start();
    REQUIRE(wait_until([&] { return json::parse(world->relay().status())["status"] == "healthy"; }, 40s));
  }

  TEST_CASE("relay: a tenant that stands still is counted by its reason, and resumed on demand") {
    HG_WORLD(world, {.sinks = {"redis_streams"},
                     .subscribe = {"redis_streams"},
                     .sink_yaml = {{"redis_streams", "    event_bytes_max: 4KiB\n    on_poison: stop\n"}}});
    world->create_tenants({"a"});
    world->relay().start();
    const int port = world->relay().admin_port();
    write(*world, "a", "doc:1#owner@user:u1");
    REQUIRE(has_changes(world->subscriber("redis_streams"), "a", 1));
    httplib::Client client("127.0.0.1", port);
    CHECK(client.Post("/tenants/a/resume")->status == 404);
    std::vector<base::v1::Tuple> many;
    for (int i = 0; i < 80; ++i)
      many.push_back(tuple_of("doc:2#owner@user:" + std::string(100, 'v') + std::to_string(i)));
    REQUIRE(world->client().write("a", many).status.ok());
    const std::string series = "headgate_relay_stopped_tenants{reason=\"POISON\",sink=\"redis_streams\"} 1";
    REQUIRE(wait_until([&] { return http_get(port, "/metrics").value().find(series) != std::string::npos; }, 20s));
    CHECK(http_get(port, "/readyz?verbose").value().find("a in redis_streams (POISON)") != std::string::npos);
    CHECK(client.Post("/tenants/a/resume?sink=none")->status == 404);
    const std::string once = "headgate_relay_sink_poison_total{sink=\"redis_streams\"} 1\n";
    CHECK(http_get(port, "/metrics").value().find(once) != std::string::npos);
    CHECK(client.Post("/tenants/a/resume?sink=redis_streams")->status == 202);
    // The event is as large as before: it is met again.
    CHECK(wait_until([&] { return http_get(port, "/metrics").value().find(once) == std::string::npos; }, 20s));
  }

  TEST_CASE("relay: a tenant that stopped at a gap goes on with what the operator decides, once") {
    HG_WORLD(world, {.sinks = {"file"}, .subscribe = {"file"}, .tenants_yaml = "  on_gap: fail\n"});
    world->create_tenants({"a"});
    Subscriber& file = world->subscriber("file");
    world->relay().start();
    write(*world, "a", "doc:1#owner@user:u1");
    REQUIRE(has_changes(file, "a", 1));
    CHECK(world->relay().stop() == 0);
    write(*world, "a", "doc:2#owner@user:u1");
    write(*world, "a", "doc:3#owner@user:u1");
    EngineSession(world->database_uri()).collect("a");
    world->relay().start();
    httplib::Client client("127.0.0.1", world->relay().admin_port());
    const auto resume = [&](const std::string& query) { return client.Post("/tenants/a/resume" + query)->status; };
    REQUIRE(wait_until([&] { return file.received().back().is_gap(); }));
    CHECK(resume("?on_gap=fail") == 400);
    const size_t before = file.received().size();
    REQUIRE(wait_until([&] { return resume("") == 202; }));
    REQUIRE(wait_until([&] { return file.received().size() > before; }));
    CHECK(file.received().back().is_gap());
    REQUIRE(wait_until([&] { return resume("?on_gap=snapshot") == 202; }));
    REQUIRE(wait_until([&] { return file.received().back().type == "dev.headgate.feed.snapshot-end.v1"; }));
    // What stopped it is still in the ring, and is passed once more.
    CHECK(wait_until([&] { return json::parse(world->relay().status())["status"] == "healthy"; }));
    // The common stream reads its state as well, and what is written meanwhile is part of that.
    int written = 3;
    CHECK(wait_until([&] {
      write(*world, "a", "doc:" + std::to_string(++written) + "#owner@user:u1");
      return file.count() > 1;
    }));
    const std::vector<uint64_t> numbers = sequences(file, "a");
    for (size_t i = 0; i < numbers.size(); ++i) CHECK(numbers[i] == i + 1);
  }

  TEST_CASE("relay: is not ready before the engine was reached, and becomes so by itself") {
    HG_WORLD(world, {.sinks = {"file"}, .subscribe = {"file"}});
    world->create_tenants({"a"});
    world->engine().kill();
    world->relay().launch();
    const int port = world->relay().admin_port();
    REQUIRE(wait_until([&] { return http_get(port, "/livez").has_value(); }));
    CHECK_FALSE(http_get(port, "/readyz").has_value());
    CHECK_FALSE(http_get(port, "/startupz").has_value());
    world->engine().start();
    CHECK(wait_until([&] { return http_get(port, "/readyz").has_value(); }, 20s));
    // The client's connection is that of the engine before.
    REQUIRE(wait_until([&] { return world->client().write("a", {tuple_of("doc:1#owner@user:u1")}).status.ok(); }));
    CHECK(has_changes(world->subscriber("file"), "a", 1));
  }

  TEST_CASE("relay: tenants that appear while it runs are delivered from their first write") {
    HG_WORLD(world, {.sinks = {"file"}, .subscribe = {"file"}});
    world->relay().start();
    for (int i = 0; i < 5; ++i) {
      const std::string tenant = "new-" + std::to_string(i);
      world->create_tenants({tenant});
      write(*world, tenant, "doc:1#owner@user:u1");
    }
    for (int i = 0; i < 5; ++i) {
      const std::string tenant = "new-" + std::to_string(i);
      REQUIRE(has_changes(world->subscriber("file"), tenant, 1));
      check_changes(world->subscriber("file"), tenant, 1);
    }
  }

  TEST_CASE("relay: reads plain Watch streams as well, over restarts") {
    HG_WORLD(world, {.sinks = {"file"}, .subscribe = {"file"}});
    world->create_tenants({"a", "b"});
    TempFolder folder;
    RelayProgram relay(folder.path(), "watch",
                       "upstream:\n  kind: watch\n  tenant_poll: 100ms\n  address: " + world->engine().address() +
                           "\ntokens:\n  sqlite:\n    path: " + folder.path() +
                           "/tokens.db\nsinks:\n  - name: file\n    kind: file\n    path: " + folder.path() +
                           "/events\n");
    relay.start();
    const auto file = subscribe_file(folder.path() + "/events");
    // Without a token a stream starts at the head: what is written before it stands is not part of it.
    REQUIRE(wait_until([&] {
      write(*world, "a", "doc:1#owner@user:u" + std::to_string(file->count()));
      return file->count() > 0;
    }));
    CHECK(relay.stop() == 0);
    const size_t before = file->count();
    for (int i = 0; i < 10; ++i) write(*world, "a", "doc:2#owner@user:v" + std::to_string(i));
    relay.start();
    REQUIRE(wait_until([&] { return file->count() >= before + 10; }));
    const std::vector<uint64_t> seen = sequences(*file, "a");
    for (size_t i = 0; i < seen.size(); ++i) CHECK(seen[i] == i + 1);
    CHECK(json::parse(relay.status())["upstream"]["ordered"] == false);
  }

  TEST_CASE("relay: a plain Watch connection that is swallowed is noticed within 20 seconds, and nothing is lost") {
    HG_WORLD(world,
             {.sinks = {"file"}, .subscribe = {"file"}, .proxied = {"upstream"}, .upstream_yaml = "  kind: watch\n"});
    world->create_tenants({"a"});
    world->relay().start();
    Subscriber& file = world->subscriber("file");
    int number = 0;
    REQUIRE(wait_until([&] {
      write(*world, "a", "doc:1#owner@user:u" + std::to_string(++number));
      return file.count() > 0;
    }));
    world->proxy("upstream").half_open();
    const auto begin = std::chrono::steady_clock::now();
    const size_t before = file.count();
    for (int i = 0; i < 5; ++i) write(*world, "a", "doc:2#owner@user:v" + std::to_string(i));
    // What stood stays silent for ever; new connections work.
    world->proxy("upstream").heal();
    REQUIRE(wait_until([&] { return file.count() >= before + 5; }, 30s));
    CHECK(std::chrono::steady_clock::now() - begin < 20s);
    const std::vector<uint64_t> seen = sequences(file, "a");
    for (size_t i = 1; i < seen.size(); ++i) CHECK(seen[i] == seen[i - 1] + 1);
  }

  TEST_CASE("relay: a second one on the same sqlite file waits, and takes over when the first has gone") {
    HG_WORLD(world, {.sinks = {"file"}, .subscribe = {"file"}});
    world->create_tenants({"a"});
    world->relay().start();
    write(*world, "a", "doc:1#owner@user:u1");
    REQUIRE(has_changes(world->subscriber("file"), "a", 1));
    RelayProgram second(world->folder() + "/second", "relay",
                        "upstream:\n  address: " + world->engine().address() +
                            "\ntokens:\n  sqlite:\n    path: " + world->token_store_path() +
                            "\nsinks:\n  - name: file\n    kind: file\n    path: " + world->folder() +
                            "/events.jsonl\n");
    second.launch();
    REQUIRE(wait_until([&] { return second.log_tail().find("locked by another relay") != std::string::npos; }));
    CHECK_FALSE(http_get(second.admin_port(), "/readyz").has_value());
    CHECK(world->relay().stop() == 0);
    REQUIRE(wait_until([&] { return http_get(second.admin_port(), "/readyz").has_value(); }, 20s));
    write(*world, "a", "doc:2#owner@user:u1");
    REQUIRE(has_changes(world->subscriber("file"), "a", 2));
    check_changes(world->subscriber("file"), "a", 2);
  }

  TEST_CASE("relay: bad settings end it with code 2 and a text that helps") {
    TempFolder folder;
    const std::string path = folder.path() + "/relay.yaml";
    write_file(path, "sinks:\n  - {name: a, kind: kafka, borkers: x}\n");
    const Ran bad = run({"--config", path});
    CHECK(bad.code == 2);
    CHECK(bad.output.find("brokers") != std::string::npos);
    write_file(path, "upstream: {key: hush}\nsinks:\n  - {name: a, kind: stdout}\n");
    CHECK(run({"--config", path, "--check-config"}).code == 0);
    const Ran printed = run({"--config", path, "--print-config"});
    CHECK(printed.code == 0);
    CHECK(printed.output.find("hush") == std::string::npos);
    CHECK(run({"--settings"}).output.find("HEADGATE_RELAY_UPSTREAM_ADDRESS") != std::string::npos);
    CHECK(run({"--no-such-option"}).code == 64);
  }

  TEST_CASE("relay: the port file names the port it was given by the system") {
    TempFolder folder;
    const std::string path = folder.path() + "/relay.yaml";
    write_file(path,
               "admin: {address: 127.0.0.1, port: 0}\ntokens: {kind: memory}\nsinks:\n  - {name: a, kind: stdout}\n");
    Process relay({.argv = {HEADGATE_RELAY_BINARY, "--config", path, "--port-file", folder.path() + "/port"},
                   .log_file = folder.path() + "/log"});
    REQUIRE(wait_until([&] { return read_file(folder.path() + "/port").rfind("http=", 0) == 0; }));
    const int port = std::stoi(read_file(folder.path() + "/port").substr(5));
    CHECK(wait_until([&] { return http_get(port, "/livez").has_value(); }));
    relay.signal(SIGHUP);
    CHECK(wait_until([&] { return read_file(folder.path() + "/log").find("reloaded") != std::string::npos; }));
    relay.stop();
    CHECK(relay.exit_code() == 0);
  }
}
