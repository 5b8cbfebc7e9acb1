#include "engine/api/call.h"

#include "base/log.h"
#include "engine/api/errors.h"
#include "engine/model/errors.h"

namespace headgate::engine {
namespace {

using SteadyClock = std::chrono::steady_clock;

// Nothing thrown may leave a worker: it would end the process.
Status guarded(const std::function<Status()>& work) {
  try {
    return work();
  } catch (const std::exception& error) {
    return internal_error("exception: {}", error.what());
  }
}

// What a request holds while it waits: of very many small parts it is thirty times what came.
size_t held_bytes(const google::protobuf::Message& request) {
  constexpr size_t kSmall = 64 << 10;
  const size_t came = request.ByteSizeLong();
  return came < kSmall ? came : request.SpaceUsedLong();
}

// Work whose errors are those of base.v1.
std::function<Status()> for_clients(base::v1::ErrorCode away, std::function<Status()> work) {
  return [away, work = std::move(work)] { return for_client(guarded(work), away); };
}

}  // namespace

Status still_wanted(const grpc::CallbackServerContext& context) {
  if (context.IsCancelled()) return api_error(base::v1::ERROR_CODE_CANCELLED);
  if (context.deadline() < std::chrono::system_clock::now()) {
    return make_status(StatusCode::kDeadlineExceeded, "the deadline passed before the call was answered");
  }
  return ok_status();
}

MethodMetrics::MethodMetrics(Metrics& metrics, std::string name)
    : metrics_(metrics),
      name_(std::move(name)),
      seconds_(metrics.histogram("headgate_engine_rpc_seconds", "Time from arrival to answer of a call.",
                                 {{"method", name_}})) {}

void MethodMetrics::on_finished(StatusCode code, double seconds) {
  seconds_.Observe(seconds);
  const size_t index = std::min<size_t>(static_cast<size_t>(code), by_code_.size() - 1);
  Counter* counter = by_code_[index].load();
  if (counter == nullptr) {
    counter = &metrics_.counter("headgate_engine_rpc_total", "Calls answered.",
                                {{"method", name_}, {"code", std::string(code_name(code))}});
    by_code_[index] = counter;
  }
  counter->Increment();
}

Status CallRunner::admit(const grpc::CallbackServerContext& context, const google::protobuf::Message& request) const {
  HG_RETURN_IF_ERROR(validator_.check(request));
  HG_RETURN_IF_ERROR(authenticator_.check(context));
  admitted_.note(context.peer());
  return ok_status();
}

CallRunner::Finish CallRunner::finish_of(grpc::ServerUnaryReactor* reactor, MethodMetrics& method,
                                         std::function<grpc::Status(const Status&)> shown) {
  return [reactor, &method, shown = std::move(shown), begin = SteadyClock::now()](const Status& status) {
    method.on_finished(status.code(), std::chrono::duration<double>(SteadyClock::now() - begin).count());
    reactor->Finish(shown(status));
  };
}

grpc::ServerUnaryReactor* CallRunner::run(grpc::CallbackServerContext* context,
                                          const google::protobuf::Message& request, MethodMetrics& method,
                                          base::v1::ErrorCode away, std::function<Status()> work) {
  return run_detailed(context, request, method, to_grpc, for_clients(away, std::move(work)));
}

grpc::ServerUnaryReactor* CallRunner::run_detailed(grpc::CallbackServerContext* context,
                                                   const google::protobuf::Message& request, MethodMetrics& method,
                                                   std::function<grpc::Status(const Status&)> shown,
                                                   std::function<Status()> work) {
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  const Finish finish = finish_of(reactor, method, std::move(shown));
  const Status admitted = admit(*context, request);
  if (admitted.ok()) {
    run_on_worker(
        context, held_bytes(request), [work = std::move(work)] { return guarded(work); }, finish);
  } else {
    finish(admitted);
  }
  return reactor;
}

grpc::ServerUnaryReactor* CallRunner::run_soon(grpc::CallbackServerContext* context,
                                               const google::protobuf::Message& request, MethodMetrics& method,
                                               base::v1::ErrorCode away, const std::function<bool(Soon)>& begin,
                                               std::function<Status()> work) {
  // It may be gone as soon as the work has begun.
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  const Finish finish = finish_of(reactor, method, to_grpc);
  if (const Status admitted = admit(*context, request); !admitted.ok()) {
    finish(admitted);
    return reactor;
  }
  const auto end = [this, away, finish](Status ended, std::function<Status()> rest) {
    if (!rest) return finish(for_client(ended, away));
    workers_.run([away, finish, rest = std::move(rest)] { finish(for_client(guarded(rest), away)); });
  };
  if (!begin({[context] { return still_wanted(*context); }, end})) {
    run_on_worker(context, held_bytes(request), for_clients(away, std::move(work)), finish);
  }
  return reactor;
}

void CallRunner::run_on_worker(grpc::CallbackServerContext* context, size_t bytes, std::function<Status()> work,
                               const Finish& finish) {
  auto run = [context, finish, work = std::move(work)] {
    const Status status = still_wanted(*context);
    finish(status.ok() ? work() : status);
  };
  const bool accepted = workers_.try_run(std::move(run), bytes);
  if (!accepted) finish(make_status(StatusCode::kResourceExhausted, "too many calls are waiting; try again later"));
}

}  // namespace headgate::engine
