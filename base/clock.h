// Time as a dependency, so that tests never sleep.
#pragma once

#include <chrono>
#include <cstdint>
#include <stop_token>

#include "base/mutex.h"

namespace headgate {

using Duration = std::chrono::milliseconds;
using MonotonicTime = std::chrono::steady_clock::time_point;

class Clock {
 public:
  virtual ~Clock() = default;
  virtual MonotonicTime now() const = 0;
  virtual int64_t unix_micros() const = 0;
  // Returns early, with false, when stop is requested.
  virtual bool sleep(Duration duration, std::stop_token stop) = 0;
};

// The machine's clock; lives for ever.
Clock& system_clock();

// Moves only when told. sleep() returns when the time has been advanced far enough.
class ManualClock : public Clock {
 public:
  MonotonicTime now() const override;
  int64_t unix_micros() const override;
  bool sleep(Duration duration, std::stop_token stop) override;
  void advance(Duration duration);
  // How many threads are in sleep(); lets a test wait until a loop has gone to sleep.
  int sleepers() const;

 private:
  mutable Mutex mutex_;
  Condition changed_;
  MonotonicTime now_ GUARDED_BY(mutex_){};
  int sleepers_ GUARDED_BY(mutex_) = 0;
};

}  // namespace headgate
