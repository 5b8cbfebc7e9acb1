// Strangers who can reach the engine's port and have no key: many connections, silent ones, half a handshake.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "tests/robustness/pressure.h"
#include "tests/robustness/stranger.h"
#include "tests/support/engine_client.h"
#include "tests/support/world.h"

namespace {

using namespace headgate::testing;
using namespace std::chrono_literals;

// The engine with few descriptors, as in a small container.
void limit_descriptors(Program& program, int count) {
  const std::string limit = fmt::format("--nofile={}:{}", count, count);
  program.argv().insert(program.argv().begin(), {"prlimit", limit});
}

int highest_descriptor(pid_t pid) {
  int highest = 0;
  for (const auto& one : std::filesystem::directory_iterator("/proc/" + std::to_string(pid) + "/fd")) {
    highest = std::max(highest, std::stoi(one.path().filename().string()));
  }
  return highest;
}

bool ready(const EngineProgram& engine) { return http_get(engine.admin_port(), "/readyz").has_value(); }

}  // namespace

TEST_SUITE("robustness/strangers") {
  TEST_CASE("strangers: more connections than there are descriptors, and others are served during and after") {
    HG_POSTGRES(database);
    const TempFolder folder("headgate-strangers");
    EngineProgram engine(folder.path(), {.database_uri = database->uri()});
    limit_descriptors(engine, 256);
    engine.start();
    {
      std::vector<Stranger> silent;
      for (int i = 0; i < 400; ++i) silent.emplace_back(port_of(engine.address()));
      const auto refused = [&] {
        return std::count_if(silent.begin(), silent.end(), [](Stranger& one) { return !one.listen(); });
      };
      CHECK(wait_until([&] { return refused() > 200; }));
      CHECK(time_of_new_client(engine.address(), 5s) < 2s);
      CHECK(ready(engine));
      CHECK(metric(engine.admin_port(), "headgate_engine_connections_refused_total{limit=\"peer\"}") > 100);
      CHECK(read_file(engine.log_file()).find("connections_refused") != std::string::npos);
    }
    CHECK(time_of_new_client(engine.address(), 5s) < 1s);
    CHECK(wait_until([&] { return metric(engine.admin_port(), "headgate_engine_connections") < 4; }));
    CHECK(ready(engine));
    print_logs_on_failure(folder.path());
  }

  TEST_CASE("strangers: when really nothing is left clients are refused, and served as soon as there is room") {
    HG_POSTGRES(database);
    const TempFolder folder("headgate-strangers");
    EngineProgram engine(folder.path(), {.database_uri = database->uri()});
    engine.start();
    REQUIRE(time_of_new_client(engine.address(), 5s) < 5s);
    // From outside, because the program itself leaves enough to others: nothing beyond what it has now.
    const auto limit = [&](const std::string& count) {
      Process process({.argv = {"prlimit", "--pid", std::to_string(engine.pid()), "--nofile=" + count + ":"}});
      REQUIRE(process.wait(5s));
      REQUIRE(process.exit_code() == 0);
    };
    limit(std::to_string(highest_descriptor(engine.pid()) + 1));
    std::vector<Stranger> crowd;
    for (int i = 0; i < 100; ++i) crowd.emplace_back(port_of(engine.address()));
    const auto refused = [&] {
      return std::count_if(crowd.begin(), crowd.end(), [](Stranger& one) { return !one.listen(); });
    };
    CHECK(wait_until([&] { return refused() > 50; }));
    const auto logged = [&](const std::string& words) {
      return read_file(engine.log_file()).find(words) != std::string::npos;
    };
    CHECK(wait_until([&] { return logged("short_of_resources"); }));
    // It asks its own port, and cannot.
    CHECK(wait_until([&] { return logged("serving=false"); }));
    limit("4096");
    CHECK(time_of_new_client(engine.address(), 5s) < 1s);
    CHECK(wait_until([&] { return ready(engine); }));
    CHECK(metric(engine.admin_port(), "headgate_engine_connections_refused_total{limit=\"resources\"}") > 50);
    CHECK(wait_until([&] { return metric(engine.admin_port(), "headgate_engine_short_of_resources") == 0; }));
    print_logs_on_failure(folder.path());
  }

  TEST_CASE("strangers: who says nothing, or only the beginning, is sent away within the time for it") {
    HG_POSTGRES(database);
    const TempFolder folder("headgate-strangers");
    const Certificate certificate(folder.path());
    for (const bool tls : {false, true}) {
      CAPTURE(tls);
      if (tls && !certificate.made()) HG_SKIP("no openssl program to make certificates with");
      EngineProgram engine(folder.path(), {.database_uri = database->uri(),
                                           .more_yaml = tls ? certificate.yaml() : "",
                                           .env = {{"HEADGATE_ENGINE_SERVER_HANDSHAKE_TIMEOUT", "500ms"}}});
      engine.start();
      const std::string hello("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 11);
      const std::string preface = http2::preface().substr(0, 24);
      std::vector<Stranger> slow;
      for (const std::string& beginning : {std::string(), hello, preface.substr(0, 10), preface}) {
        for (int i = 0; i < 20; ++i) {
          slow.emplace_back(port_of(engine.address()));
          REQUIRE(slow.back().say(beginning));
        }
      }
      // One byte at a time does not lengthen it.
      Stranger dripping(port_of(engine.address()));
      size_t said = 0;
      const auto before = std::chrono::steady_clock::now();
      while (said < preface.size() && !dripping.ended_within(100ms)) dripping.say(preface.substr(said++, 1));
      CHECK(std::chrono::steady_clock::now() - before < 3s);
      for (Stranger& one : slow) CHECK(one.ended_within(3s));
      CHECK(wait_until([&] { return metric(engine.admin_port(), "headgate_engine_connections") == 0; }));
      CHECK(ready(engine));
    }
    print_logs_on_failure(folder.path());
  }

  TEST_CASE("strangers: one address that connects too often is refused, another is not") {
    HG_POSTGRES(database);
    const TempFolder folder("headgate-strangers");
    EngineProgram engine(folder.path(), {.database_uri = database->uri(),
                                         .env = {{"HEADGATE_ENGINE_SERVER_CONNECTS_PER_SECOND", "1"},
                                                 {"HEADGATE_ENGINE_SERVER_CONNECTS_BURST", "10"}}});
    engine.start();
    int ended = 0;
    for (int i = 0; i < 30; ++i) ended += Stranger(port_of(engine.address())).ended_within(50ms) ? 1 : 0;
    CHECK(ended >= 15);
    CHECK(ended <= 20);
    CHECK(time_of_new_client(engine.address(), 5s) < 1s);
    CHECK(metric(engine.admin_port(), "headgate_engine_connections_refused_total{limit=\"rate\"}") == ended);
    print_logs_on_failure(folder.path());
  }

  TEST_CASE("strangers: the admin ports of both programs answer beside a crowd that says nothing") {
    HG_WORLD(world, {.sinks = {"file"}});
    world->engine().stop();
    limit_descriptors(world->engine(), 256);
    limit_descriptors(world->relay(), 256);
    world->engine().start();
    world->relay().start();
    for (const int port : {world->engine().admin_port(), world->relay().admin_port()}) {
      std::vector<Stranger> silent;
      for (int i = 0; i < 400; ++i) silent.emplace_back(port);
      const auto before = std::chrono::steady_clock::now();
      CHECK(http_get(port, "/livez").has_value());
      CHECK(std::chrono::steady_clock::now() - before < 1s);
      CHECK(metric(port, "headgate_http_connections") < 40);
      for (Stranger& one : silent) CHECK(one.ended_within(5s));
    }
    CHECK(world->client().write("t", {}).status.error_code() != grpc::StatusCode::UNAVAILABLE);
    CHECK(wait_until([&] { return http_get(world->relay().admin_port(), "/readyz").has_value(); }));
  }
}
