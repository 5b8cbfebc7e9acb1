// A call of gRPC as the parts behind the edge know it, and their errors as gRPC knows them.
#pragma once

#include <grpcpp/grpcpp.h>

#include "engine/rpc/call.h"

namespace headgate::engine {

class GrpcCall : public Call {
 public:
  // `context` outlives this. `cancelled` is stopped by the reactor, which is told.
  explicit GrpcCall(grpc::CallbackServerContext& context, std::stop_token cancelled = {})
      : context_(context), cancelled_(std::move(cancelled)) {}

  std::string peer() const override { return context_.peer(); }
  std::string_view metadata(std::string_view name) const override;
  Time deadline() const override { return context_.deadline(); }
  std::stop_token cancellation() const override { return cancelled_; }
  void add_trailer(const std::string& name, const std::string& value) override {
    context_.AddTrailingMetadata(name, value);
  }

 private:
  grpc::CallbackServerContext& context_;
  const std::stop_token cancelled_;
};

// With its details, if there are any (engine/rpc/error_details.h).
grpc::Status to_grpc(const Status& status);

}  // namespace headgate::engine
