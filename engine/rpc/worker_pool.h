// Threads for blocking calls, with a bounded line in front of them.
#pragma once

#include <cstddef>
#include <functional>
#include <stop_token>
#include <thread>
#include <vector>

#include "base/line.h"
#include "base/mutex.h"

namespace headgate::engine {

class WorkerPool {
 public:
  // At most `waiting_max` pieces of work wait, and at most `waiting_bytes_max` of their requests.
  WorkerPool(int threads, size_t waiting_max, size_t waiting_bytes_max);
  // Runs what has been accepted, then joins.
  ~WorkerPool();
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  // False when the line is full or the pool is closing; `work` is then not run. `bytes`: what it holds while it waits;
  // one piece is always let in when nobody waits. Thread-safe, does not block.
  bool try_run(std::function<void()> work, size_t bytes);
  // For work that is under way already and may not be refused: it goes into the line even when that is full.
  void run(std::function<void()> work);
  size_t waiting() const;
  int busy() const;

 private:
  void loop(std::stop_token stop);

  mutable Mutex mutex_;
  Condition changed_;
  Line<std::function<void()>> line_ GUARDED_BY(mutex_);
  bool closing_ GUARDED_BY(mutex_) = false;
  int busy_ GUARDED_BY(mutex_) = 0;

  std::vector<std::jthread> threads_;  // last: they use all of the above
};

}  // namespace headgate::engine
