// The way of every call: admitted, queued, run on a worker, answered and counted.
//
// The queue is bounded (WorkerPool); full is RESOURCE_EXHAUSTED at once. A call whose client has gone, or whose
// deadline has passed, while it waited there is not started.
#pragma once

#include <functional>
#include <optional>

#include "engine/rpc/call_admission.h"
#include "engine/rpc/method.h"
#include "engine/rpc/worker_pool.h"

namespace headgate::engine {

class CallRunner {
 public:
  // What the client is to be told; once, on any thread. Request, call and response are not touched any more.
  using Finish = std::function<void(const Status& told)>;
  using Ready = std::function<void(Left left, std::function<Status()> work)>;

  // A call without its types. What is referred to lives until `finish`.
  struct Task {
    const google::protobuf::Message& request;
    Call& call;
    MethodMetrics& metrics;
    std::optional<base::v1::ErrorCode> away;  // as the other members: see Method
    std::function<Status()> work;             // unless there is `begin`
    std::function<void(const Ready&)> begin;
    Finish finish;
  };

  // Both are borrowed.
  CallRunner(WorkerPool& workers, const CallAdmission& admission) : workers_(workers), admission_(admission) {}

  const CallAdmission& admission() const { return admission_; }

  // Does not block. The response is there when `finish` is told OK.
  template <typename Request, typename Response>
  void run(const Method<Request, Response>& method, const Request& request, Call& call, Response& response,
           Finish finish);
  // For methods that answer otherwise, as streams do: the work does that itself.
  void run(Task task);

 private:
  struct Running;

  void queue(const std::shared_ptr<const Running>& running, std::function<Status()> work);

  template <typename Response>
  static Status put(StatusOr<Response> from, Response& into) {
    HG_ASSIGN_OR_RETURN(into, std::move(from));
    return ok_status();
  }

  WorkerPool& workers_;
  const CallAdmission& admission_;
};

template <typename Request, typename Response>
void CallRunner::run(const Method<Request, Response>& method, const Request& request, Call& call, Response& response,
                     Finish finish) {
  Task task{request, call, *method.metrics, std::nullopt, {}, {}, std::move(finish)};
  if (method.away) task.away = method.away(request);
  if (method.begin) {
    task.begin = [&method, &request, &call, &response](const Ready& ready) {
      method.begin(request, call, [&response, ready](Left left, std::function<StatusOr<Response>()> get) {
        ready(left, [&response, get = std::move(get)] { return put(get(), response); });
      });
    };
  } else {
    task.work = [&method, &request, &call, &response] { return put(method.handle(request, call), response); };
  }
  run(std::move(task));
}

}  // namespace headgate::engine
