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
  // What to do with a job for which no connection could be had for `patience`; without it, a job waits for as long as
  // it takes. Called without locks.
  using GiveUp = std::function<void(const Status& why)>;

  // While `scarce`, which may be empty, says that connections are, one of them has to do.
  CatchUpPool(HistoryOpener opener, int threads, Duration patience, std::function<bool()> scarce = {});
  // Interrupts running statements; jobs that wait are dropped.
  ~CatchUpPool();

  void submit(Job job, GiveUp give_up = {});
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

  struct Waiting {
    Job job;
    GiveUp give_up;
    MonotonicTime refused_since{};  // zero as long as every attempt had a connection
  };

  void run(Worker& worker, std::stop_token stop);
  bool take(Worker& worker, Waiting* job, std::stop_token stop);
  void submit(Waiting job);
  Status run_once(Worker& worker, Waiting& waiting);
  bool may_take(const Worker& worker) const REQUIRES_LOCK(mutex_);
  bool is_given_up(const Waiting& waiting, const Status& why) const;
  void replace(Worker& worker, std::unique_ptr<HistoryReader> reader);

  const HistoryOpener opener_;
  const Duration patience_;
  const std::function<bool()> scarce_;
  std::vector<std::unique_ptr<Worker>> workers_;  // filled by the constructor
  std::atomic<uint64_t> generation_ = 0;

  Mutex mutex_;
  Condition changed_;
  std::deque<Waiting> jobs_ GUARDED_BY(mutex_);
  int readers_ GUARDED_BY(mutex_) = 0;
};

}  // namespace headgate::engine
