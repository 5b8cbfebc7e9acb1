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
  size_t peer = 0;        // a number of the network that it comes from
};

class MemoryGuard {
 public:
  // `rise_max`: bytes over the least of the last ten seconds that are no reason for anything.
  MemoryGuard(size_t rise_max, Clock& clock) : rise_max_(rise_max), clock_(clock) {}

  // How much memory the process has now, and since when calls are not answered any more; often. True when the
  // connections should be looked at: worst().
  bool look(size_t resident_bytes, Duration unanswered);
  // True when five seconds are over: begin() with all connections.
  bool window_over() const { return window_over_; }
  void begin(const std::vector<ConnectionUse>& all);
  // A connection has ended: what it had sent may still fill memory.
  void left(const ConnectionUse& one);
  // The connections to end, if any: the worst, and those of its peer that are half as bad. Call again at the next
  // look().
  std::vector<uint64_t> worst(const std::vector<ConnectionUse>& all);
  // At the last look.
  size_t rise() const { return rise_; }
  bool deaf() const { return unanswered_ >= kDeafAfter; }

 private:
  static constexpr Duration kDeafAfter{400};  // for a call that takes a millisecond

  bool to_blame(double most, double large) const;
  // Bytes of large messages, of all connections since the process began.
  double large_input(const std::vector<ConnectionUse>& all) const;
  // Bytes that nothing came of, for each call that was let in.
  double unexplained(const ConnectionUse& one) const;

  const size_t rise_max_;
  Clock& clock_;
  std::optional<MonotonicTime> window_since_;
  bool window_over_ = false;
  size_t least_ = 0;         // of this window of five seconds
  size_t least_before_ = 0;  // of the one before
  size_t resident_ = 0;
  size_t rise_ = 0;
  Duration unanswered_{0};
  size_t at_last_end_ = 0;
  std::optional<MonotonicTime> last_end_;
  double left_large_ = 0;                        // of connections that have ended
  double large_ = 0;                             // large_input() when this window began
  double large_before_ = 0;                      // and the one before
  std::unordered_map<uint64_t, int64_t> marks_;  // received less sent, when the window began
};

}  // namespace headgate::engine
