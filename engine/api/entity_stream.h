// The stream of a lookup, written to by a worker that waits until each message has been taken.
#pragma once

#include <grpcpp/grpcpp.h>

#include "base/mutex.h"
#include "base/status.h"
#include "base/v1/service.pb.h"
#include "engine/api/grpc_call.h"
#include "engine/rpc/call_runner.h"

namespace headgate::engine {

// Deletes itself once gRPC is done with the call.
class EntityStream : public grpc::ServerWriteReactor<base::v1::PermissionLookupEntityStreamResponse> {
 public:
  static EntityStream* make(grpc::CallbackServerContext& context) {
    return std::make_unique<EntityStream>(context).release();
  }
  explicit EntityStream(grpc::CallbackServerContext& context) : call_(context, cancelled_.get_token()) {}

  Call& call() { return call_; }
  // Ends the call; not to be touched afterwards.
  CallRunner::Finish finish() {
    return [this](const Status& told) { Finish(to_grpc(told)); };
  }
  // Blocks until gRPC has taken the message, while the call is wanted, and at most as long as a client may leave
  // messages unread: then RESOURCE_EXHAUSTED. One caller at a time; nothing may be written after an error.
  Status write(base::v1::PermissionLookupEntityStreamResponse message);

  void OnCancel() override { cancelled_.request_stop(); }
  void OnWriteDone(bool ok) override;
  void OnDone() override { std::unique_ptr<EntityStream> self(this); }

 private:
  std::stop_source cancelled_;
  GrpcCall call_;

  Mutex mutex_;
  Condition changed_;
  bool writing_ GUARDED_BY(mutex_) = false;
  bool failed_ GUARDED_BY(mutex_) = false;

  base::v1::PermissionLookupEntityStreamResponse message_;  // gRPC's while it is written
};

}  // namespace headgate::engine
