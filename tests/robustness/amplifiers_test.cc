// Little input never makes much memory. The table of what could is in docs/amplifiers.md.
#include <grpcpp/grpcpp.h>

#include "tests/support/engine_client.h"
#include "tests/support/engine_stubs.h"
#include "tests/support/world.h"

namespace {

using namespace headgate::testing;
using grpc::StatusCode;

constexpr size_t kBound = 64 << 20;

void send_compressed(EngineClient& client, grpc_compression_algorithm algorithm, size_t bytes) {
  grpc::ClientContext context;
  set_deadline(context);
  context.set_compression_algorithm(algorithm);
  base::v1::TenantCreateRequest request;
  request.set_id("t2");
  request.set_name(std::string(bytes, 'x'));
  base::v1::TenantCreateResponse response;
  const grpc::Status status = client.stubs().tenancy->Create(&context, request, &response);
  CHECK_MESSAGE(status.error_code() == StatusCode::UNIMPLEMENTED, status.error_message());
}

// A bundle of one template with `places` references to an argument of `bytes`.
grpc::Status run_bomb(EngineClient& client, size_t places, size_t bytes) {
  std::string text = "doc:";
  for (size_t i = 0; i < places; ++i) text += "{{.a}}";
  grpc::ClientContext context, run_context;
  set_deadline(context);
  set_deadline(run_context);
  base::v1::BundleWriteRequest request;
  request.set_tenant_id("t");
  base::v1::DataBundle& bundle = *request.add_bundles();
  bundle.set_name("bomb");
  bundle.add_arguments("a");
  bundle.add_operations()->add_relationships_write(text + "#owner@user:1");
  base::v1::BundleWriteResponse response;
  const grpc::Status written = client.stubs().bundle->Write(&context, request, &response);
  REQUIRE_MESSAGE(written.ok(), written.error_message());
  base::v1::BundleRunRequest run;
  run.set_tenant_id("t");
  run.set_name("bomb");
  (*run.mutable_arguments())["a"] = std::string(bytes, 'x');
  base::v1::BundleRunResponse ran;
  return client.stubs().data->RunBundle(&run_context, run, &ran);
}

}  // namespace

TEST_SUITE("robustness/amplifiers") {
  TEST_CASE("amplifiers: a compressed message and a bundle of many places are refused before they are made") {
    HG_WORLD(world, {.sinks = {}});
    world->client().create_tenant("t", "entity user {}\nentity doc {\n  relation owner @user\n}\n");
    REQUIRE(world->client().write("t", {tuple_of("doc:1#owner@user:1")}).status.ok());
    const size_t before = world->engine().resident_bytes();
    for (const auto algorithm : {GRPC_COMPRESS_GZIP, GRPC_COMPRESS_DEFLATE}) {
      send_compressed(world->client(), algorithm, size_t{200} << 20);
      CHECK(world->engine().resident_bytes() < before + kBound);
    }
    const grpc::Status ran = run_bomb(world->client(), 20'000, 100'000);
    CHECK(ran.error_code() == StatusCode::INVALID_ARGUMENT);
    CHECK(ran.error_message().find("bomb") != std::string::npos);
    CHECK(world->engine().resident_bytes() < before + kBound);
    CHECK(world->client().write("t", {tuple_of("doc:2#owner@user:1")}).status.ok());
  }
}
