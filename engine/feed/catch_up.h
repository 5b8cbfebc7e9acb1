// A few threads with a database connection each, which do the blocking work of streams: deciding where one starts, and
// reading history in front of the ring. A thousand streams that catch up share them, a page at a time, in turn.
#pragma once

#include <atomic>
#include <deque>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/mutex.h"
#include "engine/storage/history.h"

namespace headgate::engine {

class CatchUpPool {
 public:
  // Blocks in the database. UNAVAILABLE throws the connection away and runs the job again after a pause; anything else
  // is the job's own business.
  using Job = std::function<Status(HistoryReader&)>;

  CatchUpPool(HistoryOpener opener, int threads);
  // Interrupts running statements; jobs that wait are dropped.
  ~CatchUpPool();

  void submit(Job job);
  // The connections there are belong to another history now; each is replaced before its next job.
  void renew() { ++generation_; }
  // Breaks the connections of jobs that have been running for longer.
  void break_hung(Duration limit);

 private:
  struct Worker {
    // Of the worker's thread alone:
    HistoryReader* own_reader = nullptr;  // what `reader` holds
    uint64_t generation = 0;

    Mutex mutex;
    std::unique_ptr<HistoryReader> reader GUARDED_BY(mutex);  // for others, who may interrupt it
    MonotonicTime since GUARDED_BY(mutex){};                  // when the present job began; zero without one
    std::jthread thread;
  };

  void run(Worker& worker, std::stop_token stop);
  bool take(Job* job, std::stop_token stop);
  Status run_once(Worker& worker, const Job& job);
  void replace(Worker& worker, std::unique_ptr<HistoryReader> reader);

  const HistoryOpener opener_;
  std::vector<std::unique_ptr<Worker>> workers_;  // filled by the constructor
  std::atomic<uint64_t> generation_ = 0;

  Mutex mutex_;
  Condition changed_;
  std::deque<Job> jobs_ GUARDED_BY(mutex_);
};

}  // namespace headgate::engine
