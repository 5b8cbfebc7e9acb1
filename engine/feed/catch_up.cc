#include "engine/feed/catch_up.h"

#include "base/backoff.h"

namespace headgate::engine {

namespace {
constexpr Duration kIdle{10'000};
constexpr Duration kLook{500};
}  // namespace

CatchUpPool::CatchUpPool(HistoryOpener opener, int threads, Duration patience, std::function<bool()> scarce)
    : opener_(std::move(opener)), patience_(patience), scarce_(std::move(scarce)) {
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

void CatchUpPool::submit(Job job, GiveUp give_up) { submit(Waiting{std::move(job), std::move(give_up)}); }

void CatchUpPool::submit(Waiting job) {
  {
    MutexLock lock(mutex_);
    jobs_.push_back(std::move(job));
  }
  // Not every worker may take it.
  changed_.notify_all();
}

// A connection that has nothing to do for a while is given back.
bool CatchUpPool::take(Worker& worker, Waiting* job, std::stop_token stop) {
  const auto mine = [&]() REQUIRES_LOCK(mutex_) { return may_take(worker); };
  MutexLock lock(mutex_);
  const bool too_many = readers_ > 1 && scarce_ && scarce_();
  if (worker.own_reader != nullptr && (too_many || !changed_.wait_for(mutex_, stop, kIdle, mine))) {
    mutex_.unlock();
    replace(worker, nullptr);
    mutex_.lock();
  }
  while (!mine()) {
    if (stop.stop_requested()) return false;
    if (jobs_.empty()) {
      changed_.wait(mutex_, stop, [&]() REQUIRES_LOCK(mutex_) { return !jobs_.empty(); });
    } else {
      // Whether connections are scarce changes without a word.
      changed_.wait_for(mutex_, stop, kLook, mine);
    }
  }
  if (stop.stop_requested()) return false;
  *job = std::move(jobs_.front());
  jobs_.pop_front();
  return true;
}

bool CatchUpPool::may_take(const Worker& worker) const {
  if (jobs_.empty()) return false;
  return worker.own_reader != nullptr || readers_ == 0 || !scarce_ || !scarce_();
}

void CatchUpPool::run(Worker& worker, std::stop_token stop) {
  Backoff backoff({.initial = Duration(50), .max = Duration(1'000)}, random_seed());
  Waiting job;
  while (take(worker, &job, stop)) {
    const Status status = run_once(worker, job);
    if (status.code() != StatusCode::kUnavailable) {
      backoff.reset();
      continue;
    }
    replace(worker, nullptr);
    if (!is_given_up(job, status)) submit(std::move(job));
    if (!system_clock().sleep(backoff.next(), stop)) return;
  }
}

bool CatchUpPool::is_given_up(const Waiting& waiting, const Status& why) const {
  const bool over =
      waiting.refused_since != MonotonicTime{} && system_clock().now() - waiting.refused_since > patience_;
  if (!over || !waiting.give_up) return false;
  waiting.give_up(why);
  return true;
}

Status CatchUpPool::run_once(Worker& worker, Waiting& waiting) {
  const uint64_t generation = generation_;
  if (worker.own_reader == nullptr || worker.generation != generation) {
    worker.generation = generation;
    auto opened = opener_();
    if (!opened.ok()) {
      if (waiting.refused_since == MonotonicTime{}) waiting.refused_since = system_clock().now();
      return unavailable("{}", message_of(opened.status()));
    }
    replace(worker, std::move(*opened));
  }
  waiting.refused_since = {};
  {
    MutexLock lock(worker.mutex);
    worker.since = system_clock().now();
  }
  const Status status = waiting.job(*worker.own_reader);
  MutexLock lock(worker.mutex);
  worker.since = {};
  return status;
}

void CatchUpPool::replace(Worker& worker, std::unique_ptr<HistoryReader> reader) {
  {
    MutexLock lock(mutex_);
    readers_ += (reader != nullptr) - (worker.own_reader != nullptr);
  }
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
