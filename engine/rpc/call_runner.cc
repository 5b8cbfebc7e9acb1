#include "engine/rpc/call_runner.h"

#include "engine/rpc/error_details.h"
#include "engine/rpc/errors.h"

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

}  // namespace

struct CallRunner::Running {
  // With what the work returned.
  void end(const Status& status) const { finish(task.away ? for_client(status, *task.away) : status); }
  void finish(const Status& status) const {
    task.metrics.on_finished(status.code(), std::chrono::duration<double>(SteadyClock::now() - began).count());
    task.finish(task.away ? status : with_details(status));
  }

  Task task;
  SteadyClock::time_point began = SteadyClock::now();
};

void CallRunner::run(Task given) {
  const auto running = std::make_shared<const Running>(Running{std::move(given)});
  const Task& task = running->task;
  if (const Status admitted = admission_.admit(task.call, task.request); !admitted.ok()) {
    return running->finish(admitted);
  }
  if (!task.begin) return queue(running, task.work);
  task.begin([this, running](Left left, std::function<Status()> work) {
    switch (left) {
      case Left::kNothing: return running->end(guarded(work));
      case Left::kRest: return workers_.run([running, work = std::move(work)] { running->end(guarded(work)); });
      case Left::kAll: return queue(running, std::move(work));
    }
  });
}

void CallRunner::queue(const std::shared_ptr<const Running>& running, std::function<Status()> work) {
  auto run = [running, work = std::move(work)] {
    const Status wanted = running->task.call.wanted();
    wanted.ok() ? running->end(guarded(work)) : running->finish(wanted);
  };
  const bool accepted = workers_.try_run(std::move(run), held_bytes(running->task.request));
  if (!accepted) {
    running->finish(make_status(StatusCode::kResourceExhausted, "too many calls are waiting; try again later"));
  }
}

}  // namespace headgate::engine
