// Memory that comes to an end, and streams that are opened slowly and never used: who makes it short is sent away,
// others are served, and what cannot go on ends with a word and is started again.
#include <fmt/format.h>

#include <thread>

#include "tests/robustness/pressure.h"
#include "tests/robustness/stranger.h"
#include "tests/support/delivery.h"
#include "tests/support/engine_client.h"
#include "tests/support/truth.h"
#include "tests/support/world.h"

namespace {

using namespace headgate::testing;
using namespace std::chrono_literals;

constexpr size_t kMiB = 1 << 20;

#ifndef HEADGATE_SANITIZED
size_t address_space(pid_t pid) {
  const std::string status = read_file("/proc/" + std::to_string(pid) + "/status");
  return std::stoul(status.substr(status.find("VmSize:") + 7)) * 1024;
}

// From outside, as it has to be for a program whose address space is known only once it runs.
void limit_space(const Program& program, size_t bytes) {
  Process process({.argv = {"prlimit", "--pid", std::to_string(program.pid()), fmt::format("--as={}:", bytes)}});
  REQUIRE(process.wait(5s));
  REQUIRE(process.exit_code() == 0);
}
#endif

bool logged(const Program& program, const std::string& words) {
  return read_file(program.log_file()).find(words) != std::string::npos;
}

// Opens streams and leaves them: few at a time, from connections that stay.
class SlowStreams {
 public:
  SlowStreams(int port, int connections, const std::string& from = "127.0.0.2") {
    for (int i = 0; i < connections; ++i) {
      all_.push_back({Stranger(port, from), 1});
      all_.back().stranger.say(http2::preface());
    }
  }
  // Of each connection; how many of them are still there.
  int open(int streams) {
    int there = 0;
    for (One& one : all_) {
      std::string bytes;
      for (int i = 0; i < streams; ++i, one.stream += 2) {
        bytes += http2::frame(http2::kHeaders, http2::kEndHeaders, one.stream, http2::fields());
      }
      there += one.stranger.listen() && one.stranger.say(bytes) ? 1 : 0;
    }
    return there;
  }

 private:
  struct One {
    Stranger stranger;
    uint32_t stream;
  };
  std::vector<One> all_;
};

}  // namespace

TEST_SUITE("robustness/short_memory") {
  TEST_CASE("short memory: streams that are opened slowly and never used end with their connection") {
    HG_POSTGRES(database);
    const TempFolder folder("headgate-memory");
    // Who does not acknowledge its settings is not bound by the number of calls: gRPC waits for that.
    EngineProgram engine(folder.path(), {.database_uri = database->uri(),
                                         .env = {{"HEADGATE_ENGINE_SERVER_FIRST_CALL_TIMEOUT", "2s"},
                                                 {"HEADGATE_ENGINE_SERVER_CALLS_PER_CONNECTION_MAX", "50"}}});
    engine.start();
    REQUIRE(time_of_new_client(engine.address(), 5s) < 5s);
    // Who only says hello, or has calls, stays.
    Stranger quiet(port_of(engine.address()), "127.0.0.3");
    REQUIRE(quiet.say(http2::preface()));
    EngineClient client(engine.address());
    client.create_tenant("t", kSchema);
    const size_t before = engine.resident_bytes();
    const MemoryPeak peak(engine.pid());
    SlowStreams streams(port_of(engine.address()), 4);
    // Slowly enough for nobody to notice a rise: some three megabytes a second.
    int there = 4;
    for (int i = 0; i < 1'000 && there > 0; ++i) {
      there = streams.open(1);
      wait_until([] { return false; }, 15ms);
    }
    CHECK(there == 0);
    CHECK(metric(engine.admin_port(), "headgate_engine_connections_ended_without_call_total") == 4);
    CHECK(logged(engine, "first_call_timeout"));
    CHECK(memory_below(peak.bytes(), before + 64 * kMiB));
    CHECK(quiet.listen());
    CHECK(client.write("t", {}).status.error_code() != grpc::StatusCode::UNAVAILABLE);
    print_logs_on_failure(folder.path());
  }

#ifndef HEADGATE_SANITIZED  // sanitizers need address space without end
  TEST_CASE("short memory: with little address space those who use none of it go, and others are served") {
    HG_POSTGRES(database);
    const TempFolder folder("headgate-memory");
    EngineProgram engine(
        folder.path(), {.database_uri = database->uri(), .env = {{"HEADGATE_ENGINE_SERVER_MEMORY_RISE_MAX", "1GiB"}}});
    engine.start();
    REQUIRE(time_of_new_client(engine.address(), 5s) < 5s);
    // The eighth of the limit that is kept free, and 96 MiB.
    const size_t space = address_space(engine.pid());
    limit_space(engine, (space + 96 * kMiB) / 7 * 8);
    {
      SlowStreams streams(port_of(engine.address()), 20);
      bool all_there = true;
      for (int i = 0; i < 400 && all_there; ++i) {
        all_there = streams.open(20) == 20;
        wait_until([] { return false; }, 20ms);
      }
      CHECK_FALSE(all_there);
    }
    CHECK(logged(engine, "memory_short"));
    CHECK(wait_until([&] { return logged(engine, "memory_suffices"); }, 20s));
    CHECK(metric(engine.admin_port(), "headgate_engine_connections_ended_for_memory_total") > 0);
    CHECK(metric(engine.admin_port(), "headgate_memory_limit_bytes") > 0);
    CHECK(time_of_new_client(engine.address(), 5s) < 2s);
    CHECK(http_get(engine.admin_port(), "/readyz").has_value());
    print_logs_on_failure(folder.path());
  }

  TEST_CASE("short memory: a program that gets none at all says so, ends with code 4, and goes on when started again") {
    HG_WORLD(world, {.sinks = {"file"}});
    world->create_tenants({"t"});
    world->relay().start();
    const auto write = [&](const std::string& id) {
      return world->client().write("t", {tuple_of("doc:" + id + "#owner@user:a")}).status.ok();
    };
    REQUIRE(write("first"));
    REQUIRE(world->subscriber("file").wait_for(1, 30s));
    const auto starve = [&](Program& program, int admin_port, const std::function<void()>& work) {
      CAPTURE(program.name());
      limit_space(program, 64 * kMiB);  // it has more already
      const auto ended = [&] {
        work();
        http_get(admin_port, "/metrics");
        return !program.running();
      };
      REQUIRE(wait_until(ended, 30s));
      CHECK_MESSAGE(program.exit_code() == 4, program.log_tail(3));
      CHECK((logged(program, "out_of_memory") || logged(program, "out_of_threads")));
      program.start();
    };
    starve(world->engine(), world->engine().admin_port(), [&] { write(std::string(2'000, 'b')); });
    starve(world->relay(), world->relay().admin_port(), [&] { write("again"); });
    CHECK(wait_until([&] { return write("last"); }));
    const auto delivered = [&] {
      const auto all = world->subscriber("file").received();
      return !all.empty() && all.back().changes.DebugString().find("\"last\"") != std::string::npos;
    };
    CHECK(wait_until(delivered, 30s));
    CHECK(check_sink(read_truth(world->database_uri()), world->subscriber("file").received(), Repeats::kNone) == "");
  }
#endif
}
