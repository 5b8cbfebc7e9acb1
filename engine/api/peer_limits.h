// How many connections there may be, in all and from one network, and how quickly one network may make them. Pure
// bookkeeping; not thread-safe.
#pragma once

#include <array>
#include <cstddef>
#include <string>
#include <unordered_map>

#include "base/clock.h"

namespace headgate::engine {

struct ConnectionLimits {
  size_t in_all = 5'000;
  size_t of_peer = 2'500;
  double per_second = 500;  // from one peer
  double burst = 2'500;
};

// Why a connection is not taken.
enum class Refusal { kNone, kInAll, kOfPeer, kRate, kNoDescriptor, kNoMemory };
inline constexpr std::array<const char*, 6> kRefusalNames = {"none", "all", "peer", "rate", "resources", "memory"};

class PeerLimits {
 public:
  PeerLimits(ConnectionLimits limits, Clock& clock) : limits_(limits), clock_(clock) {}

  // kNone: the connection counts from now on, until left(). `network` as PeerAddress has it.
  Refusal enter(const std::string& network);
  void left(const std::string& network);
  // This peer's connections did harm: it gets one a second, until it has behaved for `term`.
  void slow_down(const std::string& network, Duration term);
  size_t open() const { return open_; }
  size_t remembered() const { return peers_.size(); }

 private:
  struct Peer {
    size_t open = 0;
    double permits = 0;
    MonotonicTime counted{};
    MonotonicTime slow_until{};
  };
  Peer& peer(const std::string& network);
  // Gives up those that are as good as new.
  void forget();

  const ConnectionLimits limits_;
  Clock& clock_;
  size_t open_ = 0;
  std::unordered_map<std::string, Peer> peers_;
};

}  // namespace headgate::engine
