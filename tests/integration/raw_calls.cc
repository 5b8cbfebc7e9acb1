#include "tests/integration/raw_calls.h"

#include <grpcpp/generic/generic_stub.h>

#include <future>

namespace headgate::testing {
namespace {

grpc::ByteBuffer buffer_of(const std::string& bytes) {
  const grpc::Slice slice(bytes);
  return grpc::ByteBuffer(&slice, 1);
}

std::string bytes_of(const grpc::ByteBuffer& buffer) {
  std::vector<grpc::Slice> slices;
  std::string out;
  if (!buffer.Valid() || !buffer.Dump(&slices).ok()) return out;
  for (const grpc::Slice& slice : slices) out.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  return out;
}

}  // namespace

std::string health_of(const std::shared_ptr<grpc::Channel>& channel, const std::string& service) {
  // HealthCheckRequest: field 1, text. HealthCheckResponse: field 1, enum; absent is UNKNOWN.
  std::string request;
  if (!service.empty()) request = std::string("\x0a") + static_cast<char>(service.size()) + service;
  const grpc::ByteBuffer in = buffer_of(request);
  grpc::ByteBuffer out;
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(5));
  grpc::GenericStub stub(channel);
  std::promise<grpc::Status> done;
  stub.UnaryCall(&context, "/grpc.health.v1.Health/Check", grpc::StubOptions(), &in, &out,
                 [&done](grpc::Status status) { done.set_value(std::move(status)); });
  const grpc::Status status = done.get_future().get();
  if (!status.ok()) return status.error_code() == grpc::StatusCode::NOT_FOUND ? "NOT_FOUND" : "ERROR";
  static const char* kNames[] = {"UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"};
  const std::string answer = bytes_of(out);
  return answer.size() == 2 && answer[1] < 4 ? kNames[static_cast<int>(answer[1])] : "UNKNOWN";
}

std::string reflected_services(const std::shared_ptr<grpc::Channel>& channel) {
  grpc::CompletionQueue queue;
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(5));
  grpc::GenericStub stub(channel);
  const auto call =
      stub.PrepareCall(&context, "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", &queue);
  void* tag = nullptr;
  bool ok = false;
  const auto next = [&] { return queue.Next(&tag, &ok) && ok; };
  grpc::ByteBuffer answer;
  call->StartCall(nullptr);
  bool good = next();
  // ServerReflectionRequest: field 7 (list_services), any text.
  if (good) call->Write(buffer_of("\x3a\x01*"), nullptr);
  good = good && next();
  if (good) call->Read(&answer, nullptr);
  good = good && next();
  context.TryCancel();
  grpc::Status status;
  call->Finish(&status, nullptr);
  queue.Next(&tag, &ok);
  queue.Shutdown();
  while (queue.Next(&tag, &ok)) {
  }
  return good ? bytes_of(answer) : "";
}

}  // namespace headgate::testing
