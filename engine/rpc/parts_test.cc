// Authentication, error mapping, the worker pool and bounds of pages: the parts of a call's way, one by one.
#include "engine/model/errors.h"
#include "engine/rpc/authenticator.h"
#include "engine/rpc/errors.h"
#include "engine/rpc/methods.h"
#include "engine/rpc/worker_pool.h"
#include "tests/support/test_main.h"

namespace headgate::engine {

using headgate::testing::wait_until;

TEST_SUITE("engine/rpc/authenticator") {
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

TEST_SUITE("engine/rpc/errors") {
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
}

TEST_SUITE("engine/rpc/worker_pool") {
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

TEST_SUITE("engine/rpc/worker_pool") {
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

TEST_SUITE("engine/rpc/services") {
  TEST_CASE("page limits: no size means the default, a huge one the bound") {
    const PageLimits limits{50, 100};
    CHECK(limits.page(0, "t").size == 50);
    CHECK(limits.page(0, "t").continuous_token == "t");
    CHECK(limits.page(70, "").size == 70);
    CHECK(limits.page(4'294'967'295u, "").size == 100);
  }
}

}  // namespace headgate::engine
