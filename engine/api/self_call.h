// Whether gRPC's port answers: a connection to it and a call of grpc.health.v1.Health/Check, by hand.
//
// Not by gRPC's client, because its threads are those of the server: where they are stuck, the question would be too.
// The connection is one of ours: the listener tells it by its address and port, counts it to nobody, and serves it
// without TLS, so that no certificate is needed to ask. Blocks, for as long as it is allowed to.
#pragma once

#include <sys/socket.h>

#include <atomic>
#include <optional>

#include "base/clock.h"
#include "base/listening_socket.h"
#include "base/status.h"

namespace headgate::engine {

class SelfCall {
 public:
  // `to`: where the port is reached from this machine.
  explicit SelfCall(const sockaddr_storage& to) : to_(to) {}
  SelfCall(const SelfCall&) = delete;
  SelfCall& operator=(const SelfCall&) = delete;

  // Ok when the call was answered within `limit`, whatever the answer. UNAVAILABLE with the reason. One at a time.
  Status ask(Duration limit);
  // The same with patience: a failure counts once the last answer is older than `patience`.
  Status ask_patiently(Duration limit, Duration patience);
  // Since when no call was answered, from the first one that was not; 0: the last one was. Thread-safe.
  Duration unanswered() const;
  // Whether this connection is the one under way. Thread-safe.
  bool is_own(const PeerAddress& peer) const;

 private:
  Status call(const Descriptor& socket, MonotonicTime until);

  const sockaddr_storage to_;
  std::atomic<int> port_{0};  // of the socket under way, which keeps it from others
  std::atomic<MonotonicTime> unanswered_since_{MonotonicTime{}};
  std::optional<MonotonicTime> answered_;
};

}  // namespace headgate::engine
