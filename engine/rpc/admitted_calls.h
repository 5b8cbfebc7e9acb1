// How many calls of each connection were let in. A fixed table: two connections that share a place have each other's
// calls as well, which is rare and does no harm. Thread-safe, without locks.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/listening_socket.h"

namespace headgate::engine {

class AdmittedCalls {
 public:
  // `peer` as gRPC names it: ipv4:10.0.0.1:4711, ipv6:%5B2001:db8::1%5D:4711.
  void note(std::string_view peer) { ++counts_[place(port_of_peer(peer), host_of_peer(peer))]; }
  // Since the process began; a connection has what was added since its own beginning.
  uint32_t of(const PeerAddress& peer) const { return counts_[place(std::to_string(peer.port), peer.host)]; }

 private:
  static std::string_view port_of_peer(std::string_view peer) { return peer.substr(peer.rfind(':') + 1); }
  static std::string_view host_of_peer(std::string_view peer) {
    peer.remove_suffix(peer.size() - std::min(peer.size(), peer.rfind(':')));
    peer.remove_prefix(std::min(peer.size(), peer.find(':') + 1));
    for (const std::string_view open : {"%5B", "["}) {
      if (peer.substr(0, open.size()) == open) peer.remove_prefix(open.size());
    }
    for (const std::string_view close : {"%5D", "]"}) {
      if (peer.size() >= close.size() && peer.substr(peer.size() - close.size()) == close) {
        peer.remove_suffix(close.size());
      }
    }
    return peer;
  }
  static size_t place(std::string_view port, std::string_view host) {
    const std::hash<std::string_view> hash;
    return (hash(host) * 31 + hash(port)) % kPlaces;
  }

  static constexpr size_t kPlaces = 1 << 16;
  std::array<std::atomic<uint32_t>, kPlaces> counts_{};
};

}  // namespace headgate::engine
