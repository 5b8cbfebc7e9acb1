// A method on its whole way, without any edge.
#include "engine/rpc/call_runner.h"

#include <absl/status/status.h>

#include <optional>

#include "base/v1/service.pb.h"
#include "engine/model/errors.h"
#include "engine/model/reasons.h"
#include "engine/rpc/error_details.h"
#include "engine/rpc/fake_call_fixture.h"
#include "google/rpc/status.pb.h"
#include "tests/support/test_main.h"

namespace headgate::engine {
namespace {

using base::v1::TenantCreateRequest;
using base::v1::TenantCreateResponse;
using testing::wait_until;
using Create = Method<TenantCreateRequest, TenantCreateResponse>;

// One worker, one place in the queue, and a method that names the tenant as the request does.
struct Way {
  Way() {
    create.metrics = std::make_shared<MethodMetrics>(metrics, "Tenancy.Create");
    create.away = always(base::v1::ERROR_CODE_EXECUTION);
    create.handle = [this](const TenantCreateRequest& request, Call& call) -> StatusOr<TenantCreateResponse> {
      ++handled;
      principal = call.principal().method;
      wait_until([this] { return open.load(); });
      if (!outcome.ok()) return outcome;
      TenantCreateResponse response;
      response.mutable_tenant()->set_id(request.id());
      return response;
    };
  }

  // A call of a client, and what it is told.
  struct Caller {
    bool told() const { return done; }
    Status wait() {
      REQUIRE(wait_until([this] { return done.load(); }));
      return status;
    }
    FakeCall call;
    TenantCreateRequest request;
    TenantCreateResponse response;
    Status status;
    std::atomic<bool> done{false};
  };
  std::unique_ptr<Caller> send(const std::function<void(Caller&)>& prepare = {}) {
    auto caller = std::make_unique<Caller>();
    caller->request.set_id("t1");
    caller->call.given["authorization"] = "Bearer key";
    if (prepare) prepare(*caller);
    calls.run(create, caller->request, caller->call, caller->response, [caller = caller.get()](const Status& told) {
      caller->status = told;
      caller->done = true;
    });
    return caller;
  }
  bool counted(const std::string& code) {
    return metrics.exposition().find(fmt::format("headgate_engine_rpc_total{{code=\"{}\",method=\"Tenancy.Create\"}} 1",
                                                 code)) != std::string::npos;
  }

  uint32_t let_in() const { return admitted->of({.host = "10.0.0.1", .network = "", .port = 4711}); }

  Metrics metrics;
  Authenticator authenticator{{"key"}};
  std::unique_ptr<AdmittedCalls> admitted = std::make_unique<AdmittedCalls>();
  CallAdmission admission{authenticator, *admitted};
  Create create;
  Status outcome;
  std::string principal;
  std::atomic<int> handled{0};
  std::atomic<bool> open{true};
  WorkerPool workers{1, 1, 1000};  // last but one: what it runs uses all of the above
  CallRunner calls{workers, admission};
};

}  // namespace

TEST_SUITE("engine/rpc/call_runner") {
  TEST_CASE("call runner: a handler's response reaches the caller, and the call is counted") {
    Way way;
    const auto caller = way.send();
    CHECK(caller->wait().ok());
    CHECK(caller->response.tenant().id() == "t1");
    CHECK(way.principal == "preshared");
    CHECK(way.counted("OK"));
    CHECK(way.let_in() == 1);
  }

  TEST_CASE("call runner: the field rules come first, then the caller, and neither reaches the handler") {
    Way way;
    const auto both = way.send([](Way::Caller& caller) {
      caller.request.set_id("!!");
      caller.call.given.clear();
    });
    CHECK(both->wait().code() == StatusCode::kInvalidArgument);
    const auto stranger = way.send([](Way::Caller& caller) { caller.call.given["authorization"] = "Bearer other"; });
    CHECK(stranger->wait().code() == StatusCode::kUnauthenticated);
    CHECK(message_of(stranger->status) == "ERROR_CODE_INVALID_KEY");
    CHECK(way.handled == 0);
    CHECK(way.counted("INVALID_ARGUMENT"));
    CHECK(way.counted("UNAUTHENTICATED"));
    CHECK(way.let_in() == 0);
  }

  TEST_CASE("call runner: a full queue refuses at once") {
    Way way;
    way.open = false;
    const auto running = way.send();
    REQUIRE(wait_until([&] { return way.handled == 1; }));
    const auto waiting = way.send();
    const auto refused = way.send();
    CHECK(refused->told());
    CHECK(refused->wait().code() == StatusCode::kResourceExhausted);
    way.open = true;
    CHECK(running->wait().ok());
    CHECK(waiting->wait().ok());
  }

  TEST_CASE("call runner: a call that nobody waits for any more is not started") {
    Way way;
    way.open = false;
    const auto running = way.send();
    REQUIRE(wait_until([&] { return way.handled == 1; }));
    SUBCASE("taken back") {
      const auto waiting = way.send();
      waiting->call.cancelled.request_stop();
      way.open = true;
      CHECK(waiting->wait().code() == StatusCode::kCancelled);
      CHECK(message_of(waiting->status) == "ERROR_CODE_CANCELLED");
    }
    SUBCASE("too late") {
      const auto waiting = way.send(
          [](Way::Caller& caller) { caller.call.until = std::chrono::system_clock::now() - std::chrono::seconds(1); });
      way.open = true;
      CHECK(waiting->wait().code() == StatusCode::kDeadlineExceeded);
    }
    CHECK(running->wait().ok());
    CHECK(way.handled == 1);
  }

  TEST_CASE("call runner: what a handler throws ends its call only") {
    Way way;
    way.create.handle = [](const TenantCreateRequest&, Call&) -> StatusOr<TenantCreateResponse> {
      throw std::runtime_error("joe@10.0.0.1");
    };
    CHECK(message_of(way.send()->wait()) == "ERROR_CODE_INTERNAL");
    CHECK(message_of(way.send()->wait()) == "ERROR_CODE_INTERNAL");
  }

  TEST_CASE("call runner: a database that is away is told in the method's own way") {
    Way way;
    way.outcome = unavailable("no connection to joe@10.0.0.1");
    CHECK(message_of(way.send()->wait()) == "ERROR_CODE_EXECUTION");
    CHECK(way.counted("INTERNAL"));
  }

  TEST_CASE("call runner: a method without an error for that tells reasons and when to come back") {
    Way way;
    way.create.away = {};
    way.outcome = refusal(StatusCode::kOutOfRange, kHistoryGone, "gone");
    google::rpc::Status details;
    REQUIRE(details.ParseFromString(details_of(way.send()->wait())));
    CHECK(details.message() == "gone");
    REQUIRE(details.details_size() == 1);
    CHECK(details.details(0).value().find(kHistoryGone) != std::string::npos);
    way.outcome = unavailable("away");
    REQUIRE(details.ParseFromString(details_of(way.send()->wait())));
    REQUIRE(details.details_size() == 1);
    CHECK(details.details(0).type_url() == "type.googleapis.com/google.rpc.RetryInfo");
  }

  TEST_CASE("call runner: what begins without a worker ends on any thread, and what blocks of it on a worker") {
    Way way;
    Create::Ready ready;
    way.create.begin = [&](const TenantCreateRequest&, Call&, const Create::Ready& given) { ready = given; };
    const auto at_hand = way.send();
    CHECK_FALSE(at_hand->told());
    ready(Left::kNothing, [] {
      TenantCreateResponse response;
      response.mutable_tenant()->set_id("begun");
      return response;
    });
    CHECK(at_hand->told());
    CHECK(at_hand->wait().ok());
    CHECK(at_hand->response.tenant().id() == "begun");

    for (const Left left : {Left::kRest, Left::kAll}) {
      const auto later = way.send();
      std::atomic<std::thread::id> thread{};
      ready(left, [&]() -> StatusOr<TenantCreateResponse> {
        thread = std::this_thread::get_id();
        return make_status(StatusCode::kAborted, "again");
      });
      CHECK(later->wait().code() == StatusCode::kAborted);
      CHECK(thread.load() != std::this_thread::get_id());
    }
    CHECK(way.handled == 0);
  }

  TEST_CASE("call runner: a full queue refuses what was not begun, but not the rest of what was") {
    Way way;
    way.open = false;
    const auto running = way.send();
    REQUIRE(wait_until([&] { return way.handled == 1; }));
    const auto waiting = way.send();
    std::vector<Create::Ready> ready;
    way.create.begin = [&](const TenantCreateRequest&, Call&, const Create::Ready& given) { ready.push_back(given); };
    const auto all = way.send();
    const auto rest = way.send();
    REQUIRE(ready.size() == 2);
    const auto answer = [] { return TenantCreateResponse(); };
    ready[0](Left::kAll, answer);
    CHECK(all->told());
    CHECK(all->wait().code() == StatusCode::kResourceExhausted);
    ready[1](Left::kRest, answer);
    CHECK_FALSE(rest->told());
    way.open = true;
    CHECK(rest->wait().ok());
    CHECK(running->wait().ok());
    CHECK(waiting->wait().ok());
  }
}

}  // namespace headgate::engine
