// Whether the relay is ready: it owns its token store and its source has stood once. A sink that is dead, or a source
// that is away later, does not change that: sending traffic elsewhere would not help. A loss counts only when it lasts.
#pragma once

#include <string>

#include "base/clock.h"
#include "base/mutex.h"
#include "relay/admin/view.h"

namespace headgate::relay {

struct ReadinessAnswer {
  bool ready = false;
  std::string why;  // when not
};

class Readiness {
 public:
  Readiness(Clock& clock, Duration hold) : clock_(clock), hold_(hold) {}

  // Thread-safe.
  ReadinessAnswer judge(const RelayReport& report);

 private:
  Clock& clock_;
  const Duration hold_;
  Mutex mutex_;
  bool was_ready_ GUARDED_BY(mutex_) = false;
  MonotonicTime last_good_ GUARDED_BY(mutex_){};
};

// True once the relay has been able to work at all.
bool has_started(const RelayReport& report);

}  // namespace headgate::relay
