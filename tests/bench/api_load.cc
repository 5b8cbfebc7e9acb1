#include "tests/bench/api_load.h"

#include <fmt/format.h>
#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <stdexcept>

#include "base/v1/service.grpc.pb.h"
#include "tests/bench/shared.h"

namespace headgate::bench {
namespace {

struct Call {
  grpc::ClientContext context;
  base::v1::DataWriteResponse response;
  grpc::Status status;
  std::unique_ptr<grpc::ClientAsyncResponseReader<base::v1::DataWriteResponse>> reader;
};

// Without what a load does not need and pays for with each call.
grpc::ChannelArguments plain_channel() {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
  arguments.SetInt(GRPC_ARG_ENABLE_CHANNELZ, 0);
  return arguments;
}

class ApiLoader {
 public:
  explicit ApiLoader(const ApiLoad& load)
      : load_(load),
        stub_(base::v1::Data::NewStub(
            grpc::CreateCustomChannel(load.engine, grpc::InsecureChannelCredentials(), plain_channel()))) {}

  ApiResult run() {
    const double cpu_before = thread_cpu_seconds();
    begin_ = Clock::now();
    while (more() || in_flight_ > 0) {
      send_due();
      take_answer();
    }
    queue_.Shutdown();
    const std::chrono::duration<double> took = Clock::now() - begin_;
    return {{(thread_cpu_seconds() - cpu_before) / took.count(), lag_ms_max_}, acknowledged_, took.count()};
  }

 private:
  bool more() const {
    return load_.transactions > 0 ? sent_ < load_.transactions
                                  : std::chrono::duration<double>(Clock::now() - begin_).count() < load_.seconds;
  }

  Clock::time_point due() const {
    if (load_.rate <= 0) return begin_;
    return begin_ + std::chrono::duration_cast<Clock::duration>(
                        std::chrono::duration<double>(static_cast<double>(sent_) / load_.rate));
  }

  void send_due() {
    const auto now = Clock::now();
    while (in_flight_ < load_.calls_in_flight_max && more() && due() <= now) {
      const std::chrono::duration<double, std::milli> lag = now - due();
      if (load_.rate > 0) lag_ms_max_ = std::max(lag_ms_max_, lag.count());
      send();
    }
  }

  void send() {
    base::v1::DataWriteRequest request;
    request.set_tenant_id(load_.tenants[sent_ % load_.tenants.size()]);
    request.mutable_metadata();
    base::v1::Tuple& tuple = *request.add_tuples();
    tuple.mutable_entity()->set_type("doc");
    tuple.mutable_entity()->set_id(fmt::format("{}{}", load_.prefix, sent_));
    tuple.set_relation("owner");
    tuple.mutable_subject()->set_type("user");
    tuple.mutable_subject()->set_id(fmt::format("u{}", sent_ % 1000));
    auto call = std::make_unique<Call>();
    call->context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
    call->reader = stub_->AsyncWrite(&call->context, request, &queue_);
    Call* tag = call.release();  // comes back in take_answer()
    tag->reader->Finish(&tag->response, &tag->status, tag);
    ++sent_;
    ++in_flight_;
  }

  // Waits for one, but not beyond the time of the next call.
  void take_answer() {
    const bool can_send = more() && in_flight_ < load_.calls_in_flight_max;
    const auto left = can_send ? due() - Clock::now() : Clock::duration(std::chrono::seconds(1));
    void* tag = nullptr;
    bool ok = false;
    const auto deadline = std::chrono::system_clock::now() + std::max(left, Clock::duration::zero());
    if (queue_.AsyncNext(&tag, &ok, deadline) != grpc::CompletionQueue::GOT_EVENT) return;
    const std::unique_ptr<Call> call(static_cast<Call*>(tag));
    --in_flight_;
    if (!call->status.ok()) throw std::runtime_error("a write was refused: " + call->status.error_message());
    ++acknowledged_;
  }

  const ApiLoad& load_;
  const std::unique_ptr<base::v1::Data::Stub> stub_;
  grpc::CompletionQueue queue_;
  Clock::time_point begin_;
  size_t sent_ = 0;
  size_t acknowledged_ = 0;
  int in_flight_ = 0;
  double lag_ms_max_ = 0;
};

}  // namespace

ApiResult run_load(const ApiLoad& load) { return ApiLoader(load).run(); }

}  // namespace headgate::bench
