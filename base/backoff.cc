#include "base/backoff.h"

#include <algorithm>
#include <cmath>

namespace headgate {

Backoff::Backoff(BackoffSettings settings, uint64_t seed) : settings_(settings), random_(seed) {}

Duration Backoff::next() {
  const int shift = std::min(attempt_, 30);
  ++attempt_;
  const double ceiling =
      std::min<double>(settings_.max.count(), static_cast<double>(settings_.initial.count()) * std::ldexp(1.0, shift));
  return Duration(static_cast<int64_t>(std::uniform_real_distribution<double>(0, ceiling)(random_)));
}

uint64_t random_seed() {
  std::random_device device;
  return (static_cast<uint64_t>(device()) << 32) | device();
}

TokenBucket::TokenBucket(double rate, double burst, Clock& clock)
    : rate_(rate), burst_(burst), clock_(clock), permits_(burst), updated_(clock.now()) {}

void TokenBucket::refill() {
  const MonotonicTime now = clock_.now();
  permits_ = std::min(burst_, permits_ + rate_ * std::chrono::duration<double>(now - updated_).count());
  updated_ = now;
}

bool TokenBucket::try_take() {
  MutexLock lock(mutex_);
  refill();
  if (permits_ < 1) return false;
  permits_ -= 1;
  return true;
}

Duration TokenBucket::wait_time() {
  MutexLock lock(mutex_);
  refill();
  if (permits_ >= 1) return Duration(0);
  return Duration(static_cast<int64_t>(std::ceil((1 - permits_) / rate_ * 1000)));
}

bool TokenBucket::take(std::stop_token stop) {
  while (!stop.stop_requested()) {
    if (try_take()) return true;
    if (!clock_.sleep(std::max(wait_time(), Duration(1)), stop)) return false;
  }
  return false;
}

}  // namespace headgate
