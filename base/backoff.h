// Exponential back-off with full jitter, and a token bucket for connection budgets.
//
// Full jitter: each delay is uniform in [0, min(max, initial * 2^n)] (Marc Brooker, "Exponential Backoff And Jitter",
// AWS Architecture Blog, 2015). It spreads a herd of reconnects best of the usual variants.
#pragma once

#include <cstdint>
#include <random>

#include "base/clock.h"

namespace headgate {

struct BackoffSettings {
  Duration initial{100};
  Duration max{10'000};
};

// Not thread-safe; one per loop.
class Backoff {
 public:
  Backoff(BackoffSettings settings, uint64_t seed);
  // The next delay; grows with every call until reset().
  Duration next();
  void reset() { attempt_ = 0; }
  int attempts() const { return attempt_; }

 private:
  BackoffSettings settings_;
  std::mt19937_64 random_;
  int attempt_ = 0;
};

// A seed that differs between processes and calls.
uint64_t random_seed();

// Thread-safe. `rate` permits a second, at most `burst` saved up.
class TokenBucket {
 public:
  TokenBucket(double rate, double burst, Clock& clock);
  // True and one permit taken, or false.
  bool try_take();
  // How long until try_take() can succeed; 0 when it can now.
  Duration wait_time();
  // Blocks until a permit is taken; false when stopped first.
  bool take(std::stop_token stop);

 private:
  void refill() REQUIRES_LOCK(mutex_);

  const double rate_;
  const double burst_;
  Clock& clock_;
  Mutex mutex_;
  double permits_ GUARDED_BY(mutex_);
  MonotonicTime updated_ GUARDED_BY(mutex_);
};

}  // namespace headgate
