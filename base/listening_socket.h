// A TCP port that goes on accepting whatever the process runs out of.
//
// One descriptor is kept in hand. When there is no other, it takes the clients that wait and sends them away: a refusal
// is an answer, a place in a line that nobody works off is none. Nothing here blocks. Not thread-safe.
#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/descriptor.h"
#include "base/status.h"

namespace headgate {

// Whose connection it is. An IPv4 address in IPv6 clothes counts as what it is.
struct PeerAddress {
  std::string host;     // as text, of IPv6 with its scope
  std::string network;  // whom limits hold for: the address, of IPv6 its /64, which one customer has for himself
  int port = 0;
};
PeerAddress peer_address(const sockaddr_storage& address);

class ListeningSocket {
 public:
  struct Accepted {
    Descriptor socket;  // does not block
    PeerAddress peer;
  };

  // Binds every address that `host` stands for; 0.0.0.0 and :: are all addresses of the machine, of both families where
  // it has both. Port 0 takes a free one. UNAVAILABLE, with the reason, when an address cannot be bound.
  static StatusOr<ListeningSocket> open(const std::string& host, int port);

  int port() const { return port_; }
  // One of them is readable while somebody waits.
  const std::vector<Descriptor>& sockets() const { return sockets_; }
  // Where a client on this machine reaches it.
  sockaddr_storage reachable_at() const;

  // The next client, or nothing: nobody waits, or he cannot be had now; then short_of() tells why, and the call should
  // be repeated soon, because the socket stays readable.
  std::optional<Accepted> accept();
  // What the process has too little of, as errno tells it; 0 when nothing. Holds until a second has passed without it.
  int short_of() const;
  // Nobody can connect any more.
  void close() { sockets_.clear(); }
  // The caller has sent a client away for want of a further descriptor, as `error` tells it.
  void note_sent_away(int error);
  // Clients that were sent away for it.
  uint64_t sent_away() const { return sent_away_; }

 private:
  ListeningSocket() = default;
  // NOT_FOUND when this machine has no such address.
  static StatusOr<Descriptor> bind_one(const sockaddr* address, socklen_t size, bool both_families);
  Status bind_any();
  Status bind_named(const std::string& host);
  void add(Descriptor socket);
  // False when accept(2) should not be tried again now.
  bool on_failure(int socket, int error);
  void take_spare();
  void note_shortage(int error);
  void note_success();

  std::vector<Descriptor> sockets_;
  int port_ = 0;
  Descriptor spare_;
  int short_of_ = 0;
  MonotonicTime short_since_{};
  MonotonicTime short_last_{};
  uint64_t sent_away_ = 0;
  uint64_t sent_away_before_ = 0;
};

}  // namespace headgate
