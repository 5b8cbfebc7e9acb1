// gRPC's side of a unary call: the reactor, which is the call, and its answer.
#pragma once

#include <grpcpp/grpcpp.h>

#include "engine/api/grpc_call.h"
#include "engine/rpc/call_runner.h"

namespace headgate::engine {

// Deletes itself once gRPC is done with the call.
class UnaryReactor : public grpc::ServerUnaryReactor {
 public:
  static UnaryReactor* make(grpc::CallbackServerContext& context) {
    return std::make_unique<UnaryReactor>(context).release();
  }
  explicit UnaryReactor(grpc::CallbackServerContext& context) : call_(context, cancelled_.get_token()) {}

  Call& call() { return call_; }
  // Ends the call; not to be touched afterwards.
  CallRunner::Finish finish() {
    return [this](const Status& told) { Finish(to_grpc(told)); };
  }

  void OnCancel() override { cancelled_.request_stop(); }
  void OnDone() override { std::unique_ptr<UnaryReactor> self(this); }
  // As gRPC's own reactor of unary calls: nothing here blocks, and a thread of the executor for each call would cost
  // more than the rest of the edge.
  bool InternalInlineable() override { return true; }

 private:
  std::stop_source cancelled_;
  GrpcCall call_;
};

// `calls` and `method` outlive the call.
template <typename Request, typename Response>
grpc::ServerUnaryReactor* run_unary(CallRunner& calls, const Method<Request, Response>& method,
                                    grpc::CallbackServerContext* context, const Request* request, Response* response) {
  UnaryReactor* const reactor = UnaryReactor::make(*context);
  calls.run(method, *request, reactor->call(), *response, reactor->finish());
  return reactor;
}

}  // namespace headgate::engine
