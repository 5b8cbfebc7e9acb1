// A bounded queue between two threads. The bound is in bytes, not items, and one item is always admitted when the queue
// is empty, so that an item larger than the bound cannot block progress.
#pragma once

#include <cstddef>
#include <deque>
#include <optional>
#include <stop_token>
#include <utility>

#include "base/clock.h"
#include "base/mutex.h"

namespace headgate {

template <typename T>
class ByteQueue {
 public:
  explicit ByteQueue(size_t bytes_max) : bytes_max_(bytes_max) {}

  // Blocks while full. False when closed or stopped; the item is then dropped by the caller's choice, not silently
  // here.
  bool push(T item, size_t bytes, std::stop_token stop) {
    MutexLock lock(mutex_);
    changed_.wait(mutex_, stop,
                  [&]() REQUIRES_LOCK(mutex_) { return closed_ || bytes_ == 0 || bytes_ + bytes <= bytes_max_; });
    if (closed_ || stop.stop_requested()) return false;
    items_.emplace_back(std::move(item), bytes);
    bytes_ += bytes;
    changed_.notify_all();
    return true;
  }

  // False when full or closed.
  bool try_push(T item, size_t bytes) {
    MutexLock lock(mutex_);
    if (closed_ || (bytes_ != 0 && bytes_ + bytes > bytes_max_)) return false;
    items_.emplace_back(std::move(item), bytes);
    bytes_ += bytes;
    changed_.notify_all();
    return true;
  }

  // Blocks while empty. nullopt when stopped, or closed and empty.
  std::optional<T> pop(std::stop_token stop) {
    MutexLock lock(mutex_);
    changed_.wait(mutex_, stop, [&]() REQUIRES_LOCK(mutex_) { return closed_ || !items_.empty(); });
    return take();
  }

  // Like pop, but gives up after `timeout`.
  std::optional<T> pop_for(Duration timeout, std::stop_token stop) {
    MutexLock lock(mutex_);
    changed_.wait_for(mutex_, stop, timeout, [&]() REQUIRES_LOCK(mutex_) { return closed_ || !items_.empty(); });
    return take();
  }

  std::optional<T> try_pop() {
    MutexLock lock(mutex_);
    return take();
  }

  // Nothing more goes in; what is inside can still be taken out.
  void close() {
    MutexLock lock(mutex_);
    closed_ = true;
    changed_.notify_all();
  }

  size_t bytes() const {
    MutexLock lock(mutex_);
    return bytes_;
  }
  size_t size() const {
    MutexLock lock(mutex_);
    return items_.size();
  }

 private:
  std::optional<T> take() REQUIRES_LOCK(mutex_) {
    if (items_.empty()) return std::nullopt;
    std::pair<T, size_t> front = std::move(items_.front());
    items_.pop_front();
    bytes_ -= front.second;
    changed_.notify_all();
    return std::move(front.first);
  }

  const size_t bytes_max_;
  mutable Mutex mutex_;
  Condition changed_;
  std::deque<std::pair<T, size_t>> items_ GUARDED_BY(mutex_);
  size_t bytes_ GUARDED_BY(mutex_) = 0;
  bool closed_ GUARDED_BY(mutex_) = false;
};

}  // namespace headgate
