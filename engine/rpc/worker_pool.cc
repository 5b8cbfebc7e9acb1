#include "engine/rpc/worker_pool.h"

namespace headgate::engine {

WorkerPool::WorkerPool(int threads, size_t waiting_max, size_t waiting_bytes_max)
    : line_({waiting_max, waiting_bytes_max}) {
  for (int i = 0; i < threads; ++i) threads_.emplace_back([this](std::stop_token stop) { loop(stop); });
}

WorkerPool::~WorkerPool() {
  MutexLock lock(mutex_);
  closing_ = true;
}

bool WorkerPool::try_run(std::function<void()> work, size_t bytes) {
  {
    MutexLock lock(mutex_);
    if (closing_ || line_.push(std::move(work), bytes)) return false;
  }
  changed_.notify_one();
  return true;
}

void WorkerPool::run(std::function<void()> work) {
  {
    MutexLock lock(mutex_);
    line_.push_always(std::move(work), 0);
  }
  changed_.notify_one();
}

size_t WorkerPool::waiting() const {
  MutexLock lock(mutex_);
  return line_.size();
}

int WorkerPool::busy() const {
  MutexLock lock(mutex_);
  return busy_;
}

void WorkerPool::loop(std::stop_token stop) {
  MutexLock lock(mutex_);
  for (;;) {
    changed_.wait(mutex_, stop, [this]() REQUIRES_LOCK(mutex_) { return !line_.empty(); });
    if (line_.empty()) return;
    std::function<void()> work = line_.pop();
    ++busy_;
    mutex_.unlock();
    work();
    work = nullptr;
    mutex_.lock();
    --busy_;
  }
}

}  // namespace headgate::engine
