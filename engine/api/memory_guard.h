// Whom to send away when the process' memory rises faster than calls explain.
//
// gRPC 1.51 makes kilobytes of a stream that is opened and reset at once with forty bytes (CVE-2023-44487), has no
// bound for their number, and gets to no other work meanwhile. What can be seen from outside is how much a connection
// said, how much was said to it, and how many of its calls were let in. Pure; not thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <unordered_map>
#include <vector>

#include "base/clock.h"

namespace headgate::engine {

// Since the connection's beginning.
struct ConnectionUse {
  uint64_t id = 0;
  uint64_t received = 0;  // bytes
  uint64_t sent = 0;      // bytes that the other side has taken
  uint64_t admitted = 0;  // calls whose message and caller are in order
};

class MemoryGuard {
 public:
  // `rise_max`: bytes over the least of the last ten seconds that are no reason for anything.
  MemoryGuard(size_t rise_max, Clock& clock) : rise_max_(rise_max), clock_(clock) {}

  // How much memory the process has now; often. True when the connections should be looked at: worst().
  bool look(size_t resident_bytes);
  // True when a time of calm is over: begin() with all connections.
  bool calm_over() const { return calm_over_; }
  void begin(const std::vector<ConnectionUse>& all);
  // The connection to end, if any. Call again at the next look().
  std::optional<uint64_t> worst(const std::vector<ConnectionUse>& all);
  // The rise at the last look.
  size_t rise() const { return rise_; }

 private:
  // Bytes that nothing came of, for each call that was let in.
  double unexplained(const ConnectionUse& one) const;

  const size_t rise_max_;
  Clock& clock_;
  std::optional<MonotonicTime> window_since_;
  bool calm_over_ = false;
  size_t least_ = 0;         // of this window of five seconds
  size_t least_before_ = 0;  // of the one before
  size_t resident_ = 0;
  size_t rise_ = 0;
  size_t at_last_end_ = 0;
  std::unordered_map<uint64_t, int64_t> marks_;  // received less sent, when the window began
};

}  // namespace headgate::engine
