// Whom to send away because nothing came of it: connections without a call that was let in.
//
// A stream that is opened and never used costs gRPC some twenty kilobytes and its client sixteen bytes, and no method
// of ours hears of it before its message is there. What can be seen from outside is how much a connection said. Pure;
// not thread-safe.
#pragma once

#include <cstdint>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "engine/api/memory_guard.h"

namespace headgate::engine {

class StrangerGuard {
 public:
  // `first_call_max`: how long a connection may say more than a greeting before one of its calls is let in.
  StrangerGuard(Duration first_call_max, Clock& clock) : first_call_max_(first_call_max), clock_(clock) {}

  // When late() should be asked again.
  Duration look_every() const;
  // Those that take too long.
  std::vector<uint64_t> late(const std::vector<ConnectionUse>& all);
  // Whoever is to go first while memory is short: those that said most without a call, down to half of that; then
  // those whose calls explain least of what they said. Nobody who has only connected.
  static std::vector<uint64_t> to_make_room(const std::vector<ConnectionUse>& all);

 private:
  const Duration first_call_max_;
  Clock& clock_;
  std::unordered_map<uint64_t, MonotonicTime> talking_since_;
};

}  // namespace headgate::engine
