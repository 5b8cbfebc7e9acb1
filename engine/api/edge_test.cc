// Codes of gRPC and health: the parts of the edge that need no server.
#include "engine/api/grpc_call.h"
#include "engine/api/health.h"
#include "tests/support/test_main.h"

namespace headgate::engine {

using headgate::testing::wait_until;

TEST_SUITE("engine/api/errors") {
  TEST_CASE("errors: codes of gRPC are ours") {
    for (int code = 1; code <= 16; ++code) {
      const grpc::Status status = to_grpc(make_status(static_cast<StatusCode>(code), "x"));
      CHECK(static_cast<int>(status.error_code()) == code);
      CHECK(status.error_message() == "x");
    }
  }
}

TEST_SUITE("engine/api/health") {
  struct FakeHealthService : grpc::HealthCheckServiceInterface {
    void SetServingStatus(const std::string& name, bool serving) override {
      std::lock_guard lock(mutex);
      status[name] = serving;
    }
    void SetServingStatus(bool) override {}
    bool of(const std::string& name) {
      std::lock_guard lock(mutex);
      return status[name];
    }
    std::mutex mutex;
    std::map<std::string, bool> status;
  };

  TEST_CASE("health: it follows the answers of the database, for every service") {
    FakeHealthService service;
    std::atomic<bool> away{false};
    HealthChecker health([&] { return away ? unavailable("gone") : ok_status(); }, system_clock(),
                         {.interval = Duration(5), .answer_max = Duration(200)});
    CHECK_FALSE(health.serving());
    health.start(&service, {"a", "b"});
    CHECK(wait_until([&] { return service.of("") && service.of("a") && service.of("b"); }));
    CHECK(health.reason() == "");
    away = true;
    CHECK(wait_until([&] { return !service.of("") && !service.of("a"); }));
    CHECK(health.reason() == "gone");
    CHECK(health.ever_served());
    away = false;
    CHECK(wait_until([&] { return service.of("b"); }));
    health.stop();
    CHECK_FALSE(service.of("a"));
    CHECK_FALSE(health.serving());
  }

  TEST_CASE("health: a database that hangs counts as away") {
    FakeHealthService service;
    std::atomic<bool> hang{false};
    HealthChecker health(
        [&] {
          wait_until([&] { return !hang.load(); });
          return ok_status();
        },
        system_clock(), {.interval = Duration(5), .answer_max = Duration(100)});
    health.start(&service, {"a"});
    CHECK(wait_until([&] { return health.serving(); }));
    hang = true;
    CHECK(wait_until([&] { return !service.of("a"); }));
    CHECK(wait_until([&] { return health.reason() == "the database does not answer"; }));
    hang = false;
    CHECK(wait_until([&] { return service.of("a"); }));
  }

  // The machine's clock, which tells how often the loops have gone to sleep.
  struct CountingClock : Clock {
    MonotonicTime now() const override { return system_clock().now(); }
    int64_t unix_micros() const override { return system_clock().unix_micros(); }
    bool sleep(Duration duration, std::stop_token stop) override {
      ++sleeps;
      return system_clock().sleep(duration, stop);
    }
    std::atomic<int> sleeps{0};
  };

  TEST_CASE("health: a shutdown is told as such, also when the database answers in the middle of it") {
    FakeHealthService service;
    CountingClock clock;
    std::atomic<bool> hold{false}, held{false};
    HealthChecker health(
        [&] {
          held = hold.load();
          wait_until([&] { return !hold.load(); });
          return ok_status();
        },
        clock, {.interval = Duration(5)});
    health.start(&service, {"a"});
    REQUIRE(wait_until([&] { return health.serving(); }));
    hold = true;
    REQUIRE(wait_until([&] { return held.load(); }));
    health.stop();
    CHECK(health.reason() == "shutting down");
    // Only the thread that asks is left; it goes to sleep once the answer is noted.
    const int before = clock.sleeps;
    hold = false;
    REQUIRE(wait_until([&] { return clock.sleeps > before; }));
    CHECK(health.reason() == "shutting down");
    CHECK_FALSE(service.of("a"));
  }
}

}  // namespace headgate::engine
