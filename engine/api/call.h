// The way of every unary call: validate, authenticate, wait in a bounded line, run on a worker, finish.
//
// A full line answers RESOURCE_EXHAUSTED at once; a call that was cancelled or whose deadline passed while it waited is
// not started. Methods count themselves: headgate_engine_rpc_total and headgate_engine_rpc_seconds.
#pragma once

#include <grpcpp/grpcpp.h>

#include <array>
#include <atomic>
#include <functional>
#include <string>

#include "base/metrics.h"
#include "base/v1/errors.pb.h"
#include "engine/api/admitted_calls.h"
#include "engine/api/authenticator.h"
#include "engine/api/validation.h"
#include "engine/api/worker_pool.h"

namespace headgate::engine {

// The metrics of one method. Thread-safe.
class MethodMetrics {
 public:
  // `name` as "Data.Write".
  MethodMetrics(Metrics& metrics, std::string name);
  void on_finished(StatusCode code, double seconds);

 private:
  Metrics& metrics_;
  const std::string name_;
  Histogram& seconds_;
  std::array<std::atomic<Counter*>, 17> by_code_{};
};

// What the caller has made of its call while it waited.
Status still_wanted(const grpc::CallbackServerContext& context);

class CallRunner {
 public:
  // All are borrowed and must outlive the server.
  CallRunner(WorkerPool& workers, const Validator& validator, const Authenticator& authenticator, Metrics& metrics,
             AdmittedCalls& admitted)
      : workers_(workers),
        validator_(validator),
        authenticator_(authenticator),
        metrics_(metrics),
        admitted_(admitted) {}

  Metrics& metrics() { return metrics_; }

  // `work` runs on a worker, may block, and fills the response; `request` stays valid until then. `away`: the error of
  // this call when the database is away.
  grpc::ServerUnaryReactor* run(grpc::CallbackServerContext* context, const google::protobuf::Message& request,
                                MethodMetrics& method, base::v1::ErrorCode away, std::function<Status()> work);

  // The same for a call whose errors carry details: `shown` makes them of what the work returned.
  grpc::ServerUnaryReactor* run_detailed(grpc::CallbackServerContext* context, const google::protobuf::Message& request,
                                         MethodMetrics& method, std::function<grpc::Status(const Status&)> shown,
                                         std::function<Status()> work);

  // For work that need not block. `begin` is called on the thread that received the call; it takes the work on and
  // tells once, on any thread, how it ended, or what is left and blocks; that is run on a worker. When `begin`
  // declines, `work` is run as by run(). `wanted` says, at any time until the end, whether the caller still waits.
  struct Soon {
    std::function<Status()> wanted;
    std::function<void(Status ended, std::function<Status()> rest)> end;
  };
  grpc::ServerUnaryReactor* run_soon(grpc::CallbackServerContext* context, const google::protobuf::Message& request,
                                     MethodMetrics& method, base::v1::ErrorCode away,
                                     const std::function<bool(Soon)>& begin, std::function<Status()> work);

  // The field rules, then who is calling; who is let in is noted. Also for services that do not run their calls here.
  // Does not block.
  Status admit(const grpc::CallbackServerContext& context, const google::protobuf::Message& request) const;

 private:
  using Finish = std::function<void(const Status&)>;

  static Finish finish_of(grpc::ServerUnaryReactor* reactor, MethodMetrics& method,
                          std::function<grpc::Status(const Status&)> shown);
  // `work` throws nothing.
  void run_on_worker(grpc::CallbackServerContext* context, size_t bytes, std::function<Status()> work,
                     const Finish& finish);

  WorkerPool& workers_;
  const Validator& validator_;
  const Authenticator& authenticator_;
  Metrics& metrics_;
  AdmittedCalls& admitted_;
};

}  // namespace headgate::engine
