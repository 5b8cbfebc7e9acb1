// How often one client address may open a stream: a token bucket each. Thread-safe, never blocks.
#pragma once

#include <memory>
#include <string>
#include <unordered_map>

#include "base/backoff.h"
#include "base/mutex.h"
#include "base/status.h"

namespace headgate::engine {

class Admission {
 public:
  Admission(double opens_per_second, double opens_burst, Clock& clock = system_clock())
      : rate_(opens_per_second), burst_(opens_burst), clock_(clock) {}

  // `peer` as gRPC names it, with the port. RESOURCE_EXHAUSTED, and after how long to come back.
  Status admit(const std::string& peer, Duration* retry_after);

 private:
  const double rate_;
  const double burst_;
  Clock& clock_;
  Mutex mutex_;
  std::unordered_map<std::string, std::unique_ptr<TokenBucket>> buckets_ GUARDED_BY(mutex_);
};

}  // namespace headgate::engine
