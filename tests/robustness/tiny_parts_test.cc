// Requests that are made of very many very small parts: what becomes of a request of the largest size.
#include <fmt/format.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>

#include <thread>

#include "tests/robustness/pressure.h"
#include "tests/support/engine_client.h"
#include "tests/support/world.h"

namespace {

using namespace headgate::testing;
using namespace std::chrono_literals;

constexpr size_t kRiseMax = 256 << 20;
constexpr size_t kLargest = (4 << 20) - 1024;

std::string varint(size_t number) {
  std::string bytes;
  for (; number >= 128; number >>= 7) bytes += static_cast<char>(128 | (number & 127));
  return bytes + static_cast<char>(number);
}

// A field of text or of a message, as protobuf writes it.
std::string part(int field, const std::string& content) {
  return static_cast<char>(field << 3 | 2) + varint(content.size()) + content;
}

std::string many(const std::string& one, size_t bytes = kLargest) {
  std::string all;
  all.reserve(bytes);
  while (all.size() + one.size() <= bytes) all += one;
  return all;
}

grpc::Status call(const EngineProgram& engine, const std::string& method, const std::string& bytes,
                  const std::string& key) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  grpc::GenericStub stub(grpc::CreateCustomChannel(engine.address(), grpc::InsecureChannelCredentials(), arguments));
  grpc::ClientContext context;
  set_deadline(context);
  if (!key.empty()) context.AddMetadata("authorization", "Bearer " + key);
  const grpc::Slice slice(bytes);
  grpc::CompletionQueue queue;
  const auto reader = stub.PrepareUnaryCall(&context, method, grpc::ByteBuffer(&slice, 1), &queue);
  reader->StartCall();
  grpc::ByteBuffer response;
  grpc::Status status;
  reader->Finish(&response, &status, nullptr);
  void* tag = nullptr;
  bool ok = false;
  queue.Next(&tag, &ok);
  return status;
}

// How long a new client waits for an answer, which is that he has no key.
std::chrono::milliseconds time_to_be_refused(const EngineProgram& engine) {
  const auto before = std::chrono::steady_clock::now();
  const grpc::Status status = call(engine, "/base.v1.Tenancy/List", "", "");
  CHECK(status.error_code() == grpc::StatusCode::UNAUTHENTICATED);
  return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - before);
}

struct Request {
  std::string name;
  std::string method;
  std::string bytes;
};

std::vector<Request> requests() {
  const std::string tenant = part(1, "t"), metadata = part(2, "");
  const std::string long_rule = "entity u {}\nentity d {\nrelation r @u\npermission p = r" + many(" or r") + "\n}\n";
  return {
      {"empty tuples", "/base.v1.Data/Write", tenant + metadata + many(part(3, ""))},
      {"empty attributes", "/base.v1.Data/Write", tenant + metadata + many(part(4, ""))},
      {"ids of a read", "/base.v1.Data/ReadRelationships", tenant + metadata + part(3, part(1, many(part(2, ""))))},
      {"ids of a delete", "/base.v1.Data/Delete", tenant + part(2, part(1, many(part(2, "")))) + part(3, "")},
      {"checks", "/base.v1.Permission/BulkCheck", tenant + metadata + many(part(3, ""))},
      {"empty bundles", "/base.v1.Bundle/Write", tenant + many(part(2, ""))},
      {"entities", "/base.v1.Schema/Write", tenant + part(2, many("entity a {}\n"))},
      {"words", "/base.v1.Schema/Write", tenant + part(2, many("a "))},
      {"operators", "/base.v1.Schema/Write", tenant + part(2, long_rule)},
  };
}

}  // namespace

TEST_SUITE("robustness/tiny_parts") {
  TEST_CASE("tiny parts: requests of the largest size take memory for a moment, and others are served meanwhile") {
    HG_POSTGRES(database);
    const TempFolder folder("headgate-tiny");
    EngineProgram engine(folder.path(), {.database_uri = database->uri(),
                                         .more_yaml = "authn:\n  method: preshared\n  keys: [key]\n",
                                         // What requests cost by themselves: nobody is ended for it.
                                         .env = {{"HEADGATE_ENGINE_SERVER_MEMORY_RISE_MAX", "8GiB"}}});
    engine.start();
    REQUIRE(call(engine, "/base.v1.Tenancy/Create", part(1, "t") + part(2, "t"), "key").ok());
    for (const std::string key : {"", "key"}) {
      for (const Request& request : requests()) {
        CAPTURE(request.name);
        CAPTURE(key);
        const size_t before = engine.resident_bytes();
        std::chrono::milliseconds slowest{0};
        const MemoryPeak peak(engine.pid());
        {
          const std::jthread caller([&] { call(engine, request.method, request.bytes, key); });
          slowest = time_to_be_refused(engine);
        }
        const size_t rise = peak.bytes() - std::min(peak.bytes(), before);
        fmt::print("tiny parts: {} {}: +{} MiB, another client {} ms\n", request.name, key.empty() ? "(no key)" : "",
                   rise >> 20, slowest.count());
        CHECK(memory_below(rise, kRiseMax));
        CHECK(slowest < 2s);
      }
    }
    print_logs_on_failure(folder.path());
  }
}
