// Authentication, error mapping, the worker pool and health: the parts of the edge that need no server.
#include "base/metrics.h"
#include "engine/api/authenticator.h"
#include "engine/api/errors.h"
#include "engine/api/health.h"
#include "engine/api/services.h"
#include "engine/api/worker_pool.h"
#include "engine/model/errors.h"
#include "tests/support/test_main.h"

namespace headgate::engine {

using headgate::testing::wait_until;

TEST_SUITE("engine/api/authenticator") {
  TEST_CASE("authenticator: without keys everybody is accepted") { CHECK(Authenticator({}).check("").ok()); }

  TEST_CASE("authenticator: the scheme is compared without case, the key exactly") {
    const Authenticator authenticator({"alpha", "beta"});
    CHECK(authenticator.check("Bearer alpha").ok());
    CHECK(authenticator.check("bEARER beta").ok());
    for (const char* wrong : {"Bearer ", "Bearer alph", "Bearer alphaa", "Bearer Alpha", "Bearer alpha "}) {
      CHECK(message_of(authenticator.check(wrong)) == "ERROR_CODE_INVALID_KEY");
      CHECK(authenticator.check(wrong).code() == StatusCode::kUnauthenticated);
    }
    for (const char* missing : {"", "alpha", "Basic alpha", "Bearer"}) {
      CHECK(message_of(authenticator.check(missing)) == "ERROR_CODE_MISSING_BEARER_TOKEN");
      CHECK(authenticator.check(missing).code() == StatusCode::kUnauthenticated);
    }
  }

  TEST_CASE("authenticator: the comparison is right for every pair of lengths") {
    const std::vector<std::string> words = {"", "a", "b", "aa", "ab", "aba", "abab"};
    for (const std::string& a : words) {
      for (const std::string& b : words) CHECK(equal_in_constant_time(a, b) == (a == b));
    }
  }
}

TEST_SUITE("engine/api/errors") {
  constexpr auto kAway = base::v1::ERROR_CODE_SCAN;

  TEST_CASE("errors: what was made for clients passes") {
    const Status known = api_error(base::v1::ERROR_CODE_SCHEMA_NOT_FOUND);
    CHECK(for_client(known, kAway) == known);
    const Status field = make_status(StatusCode::kInvalidArgument, "invalid X.Y: value is required");
    CHECK(for_client(field, kAway) == field);
    CHECK(for_client(ok_status(), kAway).ok());
  }

  TEST_CASE("errors: a database that is away becomes the call's own code") {
    const Status status = for_client(unavailable("connection to joe@10.0.0.1 refused"), kAway);
    CHECK(status.code() == StatusCode::kInternal);
    CHECK(message_of(status) == "ERROR_CODE_SCAN");
  }

  TEST_CASE("errors: texts of drivers never reach a client") {
    const std::vector<Status> raw = {internal_error("joe@10.0.0.1 said no"), make_status(StatusCode::kUnknown, "joe"),
                                     make_status(StatusCode::kAborted, "SQLSTATE 40001 joe"),
                                     make_status(StatusCode::kDeadlineExceeded, "joe was slow")};
    for (const Status& status : raw) {
      CHECK(message_of(for_client(status, kAway)).rfind("ERROR_CODE_", 0) == 0);
      CHECK(message_of(for_client(status, kAway)).find("joe") == std::string::npos);
    }
    CHECK(for_client(raw[2], kAway).code() == StatusCode::kAborted);
    CHECK(for_client(raw[3], kAway).code() == StatusCode::kDeadlineExceeded);
  }

  TEST_CASE("errors: codes of gRPC are ours") {
    for (int code = 1; code <= 16; ++code) {
      const grpc::Status status = to_grpc(make_status(static_cast<StatusCode>(code), "x"));
      CHECK(static_cast<int>(status.error_code()) == code);
      CHECK(status.error_message() == "x");
    }
  }
}

TEST_SUITE("engine/api/worker_pool") {
  TEST_CASE("worker pool: a full line refuses, what was accepted is run even at the end") {
    std::atomic<int> ran{0};
    std::atomic<bool> open{false};
    {
      WorkerPool pool(1, 2, 1000);
      const auto work = [&] {
        wait_until([&] { return open.load(); });
        ++ran;
      };
      REQUIRE(pool.try_run(work, 1));
      REQUIRE(wait_until([&] { return pool.busy() == 1; }));
      CHECK(pool.try_run(work, 1));
      CHECK(pool.try_run(work, 1));
      CHECK_FALSE(pool.try_run(work, 1));
      CHECK(pool.waiting() == 2);
      open = true;
    }
    CHECK(ran == 3);
  }
}

TEST_SUITE("engine/api/worker_pool") {
  TEST_CASE("worker pool: the line is bounded by bytes too, but one large request always gets in") {
    std::atomic<bool> open{false};
    WorkerPool pool(1, 100, 1000);
    const auto work = [&] { wait_until([&] { return open.load(); }); };
    REQUIRE(pool.try_run(work, 1));
    REQUIRE(wait_until([&] { return pool.busy() == 1; }));
    CHECK(pool.try_run(work, 5000));
    CHECK_FALSE(pool.try_run(work, 1));
    open = true;
    CHECK(wait_until([&] { return pool.waiting() == 0 && pool.busy() == 0; }));
    CHECK(pool.try_run(work, 1000));
  }
}

TEST_SUITE("engine/api/services") {
  TEST_CASE("page limits: no size means the default, a huge one the bound") {
    const PageLimits limits{50, 100};
    CHECK(limits.page(0, "t").size == 50);
    CHECK(limits.page(0, "t").continuous_token == "t");
    CHECK(limits.page(70, "").size == 70);
    CHECK(limits.page(4'294'967'295u, "").size == 100);
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
