// Floods of HTTP/2 frames at the engine's port, by clients without a key: memory stays bounded, others are served.
#include <atomic>
#include <thread>

#include "base/v1/service.grpc.pb.h"
#include "tests/robustness/http2_floods.h"
#include "tests/robustness/pressure.h"
#include "tests/support/engine_client.h"
#include "tests/support/world.h"

namespace {

using namespace headgate::testing;

// By a connection of its own, as if each came for the first time.
bool write_note(const EngineProgram& engine, const std::string& tenant, int number, size_t bytes) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  const auto channel = grpc::CreateCustomChannel(engine.address(), grpc::InsecureChannelCredentials(), arguments);
  base::v1::DataWriteRequest request;
  request.set_tenant_id(tenant);
  request.mutable_metadata();
  base::v1::Attribute& note = *request.add_attributes();
  note.mutable_entity()->set_type("doc");
  note.mutable_entity()->set_id(std::to_string(number));
  note.set_attribute("note");
  base::v1::StringValue value;
  value.set_data(std::string(bytes, 'n'));
  note.mutable_value()->PackFrom(value);
  base::v1::DataWriteResponse response;
  grpc::ClientContext context;
  set_deadline(context);
  const grpc::Status status = base::v1::Data::NewStub(channel)->Write(&context, request, &response);
  // The database may find that writes at the same time cannot be serialised.
  return status.ok() || status.error_code() == grpc::StatusCode::INTERNAL;
}

}  // namespace

TEST_SUITE("robustness/http2_floods") {
  TEST_CASE("http2 floods: streams that are opened and reset at once") { survive_flood(rapid_reset(), false); }

  TEST_CASE("http2 floods: streams that are opened and left") { survive_flood(open_streams(), false); }

  TEST_CASE("http2 floods: pings and settings, answers to which nobody reads") {
    for (const HttpFlood& flood : pings_and_settings()) survive_flood(flood, false);
  }

  TEST_CASE("http2 floods: frames that say nothing on a stream, or to nobody") {
    for (const HttpFlood& flood : empty_frames()) survive_flood(flood, false);
  }

  TEST_CASE("http2 floods: headers that never end") {
    for (const HttpFlood& flood : endless_headers()) survive_flood(flood, false);
  }

  TEST_CASE("http2 floods: clients that write much at once are no flood") {
    HG_POSTGRES(database);
    const TempFolder folder("headgate-floods");
    EngineProgram engine(folder.path(), {.database_uri = database->uri()});
    engine.start();
    EngineClient setup(engine.address());
    for (int i = 0; i < 12; ++i) {
      setup.create_tenant("w" + std::to_string(i), "entity user {}\nentity doc {\n  attribute note string\n}\n");
    }
    std::atomic<int> written = 0, failed = 0;
    {
      std::vector<std::jthread> writers;
      for (int i = 0; i < 12; ++i) {
        writers.emplace_back([&, i] {
          for (int n = 0; n < 6; ++n) (write_note(engine, "w" + std::to_string(i), n, 900'000) ? written : failed) += 1;
        });
      }
    }
    CHECK(failed == 0);
    CHECK(written == 12 * 6);
    CHECK(metric(engine.admin_port(), "headgate_engine_connections_ended_for_memory_total") == 0);
    print_logs_on_failure(folder.path());
  }

  TEST_CASE("http2 floods: calls with all the metadata they may have") { survive_flood(much_metadata(), false); }
}
