// Unary calls over a real connection: what a handler sees of its call, and what the client sees of the answer.
#include "engine/api/unary.h"

#include "base/v1/service.grpc.pb.h"
#include "engine/api/services.h"
#include "engine/model/errors.h"
#include "tests/support/test_main.h"

namespace headgate::engine {
namespace {

using base::v1::TenantCreateRequest;
using base::v1::TenantCreateResponse;
using testing::wait_until;

// A server whose method Tenancy.Create does what the test says.
struct Served {
  using Handle = std::function<StatusOr<TenantCreateResponse>(const TenantCreateRequest&, Call&)>;

  explicit Served(Handle handle) {
    TenancyMethods methods;
    methods.create = {std::make_shared<MethodMetrics>(metrics, "Tenancy.Create"),
                      always(base::v1::ERROR_CODE_EXECUTION),
                      std::move(handle),
                      {}};
    service = make_tenancy_service(calls, methods);
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(service.get());
    server = builder.BuildAndStart();
    REQUIRE(server != nullptr);
    stub = base::v1::Tenancy::NewStub(
        grpc::CreateChannel(fmt::format("127.0.0.1:{}", port), grpc::InsecureChannelCredentials()));
    request.set_id("t1");
  }
  ~Served() { server->Shutdown(std::chrono::system_clock::now()); }

  grpc::Status call(const std::function<void(grpc::ClientContext&)>& prepare = {}) {
    context = std::make_unique<grpc::ClientContext>();
    context->set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
    if (prepare) prepare(*context);
    return stub->Create(context.get(), request, &response);
  }

  Metrics metrics;
  Authenticator authenticator{{}};
  std::unique_ptr<AdmittedCalls> admitted = std::make_unique<AdmittedCalls>();
  CallAdmission admission{authenticator, *admitted};
  WorkerPool workers{2, 10, 1000};
  CallRunner calls{workers, admission};
  std::unique_ptr<grpc::Service> service;
  std::unique_ptr<grpc::Server> server;
  std::unique_ptr<base::v1::Tenancy::Stub> stub;
  TenantCreateRequest request;
  TenantCreateResponse response;
  std::unique_ptr<grpc::ClientContext> context;
};

}  // namespace

TEST_SUITE("engine/api/unary") {
  TEST_CASE("unary: a handler sees who calls, with what and until when, and its trailers reach the client") {
    std::string peer, given, absent = "?";
    Call::Time deadline;
    Served served([&](const TenantCreateRequest& request, Call& call) {
      peer = call.peer();
      given = call.metadata("x-given");
      absent = call.metadata("x-absent");
      deadline = call.deadline();
      call.add_trailer("x-age", "7");
      TenantCreateResponse response;
      response.mutable_tenant()->set_id(request.id());
      return response;
    });
    const Call::Time until = std::chrono::system_clock::now() + std::chrono::seconds(20);
    CHECK(served.call([&](grpc::ClientContext& context) { context.AddMetadata("x-given", "1"); }).ok());
    CHECK(served.response.tenant().id() == "t1");
    CHECK(peer.rfind("ipv4:127.0.0.1:", 0) == 0);
    CHECK(given == "1");
    CHECK(absent == "");
    CHECK(std::chrono::abs(deadline - until) < std::chrono::seconds(5));
    CHECK(served.context->GetServerTrailingMetadata().count("x-age") == 1);
  }

  TEST_CASE("unary: a handler is told when its client takes the call back") {
    std::atomic<bool> begun{false}, stopped{false};
    Status wanted;
    Served served([&](const TenantCreateRequest&, Call& call) -> StatusOr<TenantCreateResponse> {
      const std::stop_callback on_stop(call.cancellation(), [&] { stopped = true; });
      wanted = call.wanted();
      begun = true;
      wait_until([&] { return stopped.load(); });
      return call.wanted();
    });
    grpc::Status status;
    std::atomic<bool> ended{false};
    std::jthread client([&] {
      status = served.call();
      ended = true;
    });
    REQUIRE(wait_until([&] { return begun.load(); }));
    CHECK(wanted.ok());
    served.context->TryCancel();
    CHECK(wait_until([&] { return stopped.load(); }));
    REQUIRE(wait_until([&] { return ended.load(); }));
    CHECK(status.error_code() == grpc::StatusCode::CANCELLED);
  }

  TEST_CASE("unary: errors have their code and text") {
    Served served([](const TenantCreateRequest&, Call&) -> StatusOr<TenantCreateResponse> {
      return api_error(base::v1::ERROR_CODE_UNIQUE_CONSTRAINT);
    });
    const grpc::Status status = served.call();
    CHECK(status.error_code() == grpc::StatusCode::INVALID_ARGUMENT);
    CHECK(status.error_message() == "ERROR_CODE_UNIQUE_CONSTRAINT");
    CHECK(status.error_details() == "");
  }
}

}  // namespace headgate::engine
