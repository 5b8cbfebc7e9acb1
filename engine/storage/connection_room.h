// How many connections a server lets a pool have: what the settings say, until it refuses one. Then those that stand
// are the limit, and after a pause, which grows from refusal to refusal, one more is tried; so the limit rises again by
// itself.
//
// Not thread-safe; the owner says how many connections are open, those under way included.
#pragma once

#include "base/backoff.h"
#include "base/clock.h"
#include "base/postgres/errors.h"
#include "base/status.h"

namespace headgate::engine {

// Calls `connect` again a few times, within a quarter of a second, while there are too many connections: one that was
// closed a moment ago still counts until its process at the server has ended. Blocks.
template <typename Connect>
auto connect_patiently(Connect&& connect, std::stop_token stop) {
  Backoff backoff({.initial = Duration(30), .max = Duration(120)}, random_seed());
  for (int attempt = 0;; ++attempt) {
    auto connected = connect();
    if (attempt == 3 || !no_connection_left(connected.status())) return connected;
    if (!system_clock().sleep(Duration(10) + backoff.next(), stop)) return connected;
  }
}

class ConnectionRoom {
 public:
  ConnectionRoom(int connections_max, uint64_t seed);

  // Whether one more connection may be tried now.
  bool may_open(int open) const;
  // A moment at which the answer may have changed although nothing was closed; never far away.
  MonotonicTime ask_again() const;
  // Between 1 and connections_max.
  int limit() const;

  void on_connected(int open);
  // `open`: without the one that was refused. True when that is to be waited out: others stand, or there are too many
  // of somebody else's. False when the server is away.
  bool on_refused(int open, const Status& refusal);
  // One of those that are open is given up for somebody else, who gets time to take its place.
  void give_up_one(int open);

  // Whether a connection was refused within the last minute, to the pool or to somebody else of the process.
  bool scarce() const;
  void refused_elsewhere();

  // The last refusal, OK once a connection could be had.
  const Status& refusal() const { return refusal_; }

 private:
  const int connections_max_;
  int room_;  // how many the server is known to give
  MonotonicTime try_more_{};
  Backoff pause_;
  Status refusal_;
  MonotonicTime tell_again_{};
  bool told_ = false;
  MonotonicTime scarce_until_{};
};

}  // namespace headgate::engine
