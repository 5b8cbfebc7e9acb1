// Threads for blocking calls, with a bounded line in front of them.
#pragma once

#include <cstddef>
#include <deque>
#include <functional>
#include <thread>
#include <vector>

#include "base/mutex.h"

namespace headgate::engine {

class WorkerPool {
 public:
  WorkerPool(int threads, size_t waiting_max);
  // Runs what has been accepted, then joins.
  ~WorkerPool();
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  // False when the line is full or the pool is closing; `work` is then not run. Thread-safe, does not block.
  bool try_run(std::function<void()> work);
  size_t waiting() const;
  int busy() const;

 private:
  void loop();

  const size_t waiting_max_;
  mutable Mutex mutex_;
  Condition changed_;
  std::deque<std::function<void()>> line_ GUARDED_BY(mutex_);
  bool closing_ GUARDED_BY(mutex_) = false;
  int busy_ GUARDED_BY(mutex_) = 0;
  std::vector<std::jthread> threads_;
};

}  // namespace headgate::engine
