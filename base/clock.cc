#include "base/clock.h"

namespace headgate {

namespace {

class SystemClock : public Clock {
 public:
  MonotonicTime now() const override { return std::chrono::steady_clock::now(); }
  int64_t unix_micros() const override {
    return std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::system_clock::now().time_since_epoch())
        .count();
  }
  bool sleep(Duration duration, std::stop_token stop) override {
    std::mutex mutex;
    std::condition_variable_any condition;
    std::unique_lock lock(mutex);
    condition.wait_for(lock, stop, duration, [] { return false; });
    return !stop.stop_requested();
  }
};

}  // namespace

Clock& system_clock() {
  static SystemClock clock;
  return clock;
}

MonotonicTime ManualClock::now() const {
  MutexLock lock(mutex_);
  return now_;
}

int64_t ManualClock::unix_micros() const {
  return std::chrono::duration_cast<std::chrono::microseconds>(now().time_since_epoch()).count();
}

bool ManualClock::sleep(Duration duration, std::stop_token stop) {
  MutexLock lock(mutex_);
  const MonotonicTime until = now_ + duration;
  ++sleepers_;
  changed_.wait(mutex_, stop, [&]() REQUIRES_LOCK(mutex_) { return now_ >= until; });
  --sleepers_;
  return !stop.stop_requested();
}

void ManualClock::advance(Duration duration) {
  {
    MutexLock lock(mutex_);
    now_ += duration;
  }
  changed_.notify_all();
}

int ManualClock::sleepers() const {
  MutexLock lock(mutex_);
  return sleepers_;
}

}  // namespace headgate
