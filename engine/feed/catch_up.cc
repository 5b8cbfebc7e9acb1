#include "engine/feed/catch_up.h"

#include "base/backoff.h"

namespace headgate::engine {

CatchUpPool::CatchUpPool(HistoryOpener opener, int threads) : opener_(std::move(opener)) {
  for (int i = 0; i < threads; ++i) {
    workers_.push_back(std::make_unique<Worker>());
    Worker& worker = *workers_.back();
    worker.thread = std::jthread([this, &worker](std::stop_token stop) { run(worker, stop); });
  }
}

CatchUpPool::~CatchUpPool() {
  for (auto& worker : workers_) worker->thread.request_stop();
  for (auto& worker : workers_) {
    MutexLock lock(worker->mutex);
    if (worker->reader) worker->reader->interrupt();
  }
  workers_.clear();
}

void CatchUpPool::submit(Job job) {
  {
    MutexLock lock(mutex_);
    jobs_.push_back(std::move(job));
  }
  changed_.notify_one();
}

bool CatchUpPool::take(Job* job, std::stop_token stop) {
  MutexLock lock(mutex_);
  if (!changed_.wait(mutex_, stop, [&]() REQUIRES_LOCK(mutex_) { return !jobs_.empty(); }) || stop.stop_requested())
    return false;
  *job = std::move(jobs_.front());
  jobs_.pop_front();
  return true;
}

void CatchUpPool::run(Worker& worker, std::stop_token stop) {
  Backoff backoff({.initial = Duration(50), .max = Duration(1'000)}, random_seed());
  Job job;
  while (take(&job, stop)) {
    const Status status = run_once(worker, job);
    if (status.code() != StatusCode::kUnavailable) {
      backoff.reset();
      continue;
    }
    replace(worker, nullptr);
    submit(std::move(job));
    if (!system_clock().sleep(backoff.next(), stop)) return;
  }
}

Status CatchUpPool::run_once(Worker& worker, const Job& job) {
  const uint64_t generation = generation_;
  if (worker.own_reader == nullptr || worker.generation != generation) {
    worker.generation = generation;
    auto opened = opener_();
    if (!opened.ok()) return unavailable("{}", message_of(opened.status()));
    replace(worker, std::move(*opened));
  }
  {
    MutexLock lock(worker.mutex);
    worker.since = system_clock().now();
  }
  const Status status = job(*worker.own_reader);
  MutexLock lock(worker.mutex);
  worker.since = {};
  return status;
}

void CatchUpPool::replace(Worker& worker, std::unique_ptr<HistoryReader> reader) {
  worker.own_reader = reader.get();
  MutexLock lock(worker.mutex);
  worker.reader = std::move(reader);
}

void CatchUpPool::break_hung(Duration limit) {
  const MonotonicTime now = system_clock().now();
  for (auto& worker : workers_) {
    MutexLock lock(worker->mutex);
    if (worker->since != MonotonicTime{} && now - worker->since > limit) worker->reader->interrupt();
  }
}

}  // namespace headgate::engine
