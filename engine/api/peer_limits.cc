#include "engine/api/peer_limits.h"

#include <algorithm>

namespace headgate::engine {
namespace {

// Beside those that have connections.
constexpr size_t kRememberedMax = 10'000;

}  // namespace

PeerLimits::Peer& PeerLimits::peer(const std::string& network) {
  if (peers_.size() >= kRememberedMax + open_ && !peers_.contains(network)) forget();
  const auto [at, fresh] = peers_.try_emplace(network);
  Peer& peer = at->second;
  const MonotonicTime now = clock_.now();
  if (fresh) {
    peer.permits = limits_.burst;
  } else {
    const bool slow = now < peer.slow_until;
    const double seconds = std::chrono::duration<double>(now - peer.counted).count();
    peer.permits = std::min(slow ? 1 : limits_.burst, peer.permits + seconds * (slow ? 1 : limits_.per_second));
  }
  peer.counted = now;
  return peer;
}

Refusal PeerLimits::enter(const std::string& network) {
  Peer& one = peer(network);
  if (open_ >= limits_.in_all) return Refusal::kInAll;
  if (one.open >= limits_.of_peer) return Refusal::kOfPeer;
  if (one.permits < 1) return Refusal::kRate;
  one.permits -= 1;
  ++one.open;
  ++open_;
  return Refusal::kNone;
}

void PeerLimits::left(const std::string& network) {
  const auto at = peers_.find(network);
  if (at == peers_.end() || at->second.open == 0) return;
  --at->second.open;
  --open_;
}

void PeerLimits::slow_down(const std::string& network, Duration term) {
  Peer& one = peer(network);
  one.slow_until = clock_.now() + term;
  one.permits = 0;
}

void PeerLimits::forget() {
  const MonotonicTime now = clock_.now();
  const size_t before = peers_.size();
  std::erase_if(peers_, [&](const auto& entry) { return entry.second.open == 0 && entry.second.slow_until <= now; });
  // More addresses did harm than can be remembered: who has no connection begins anew.
  if (peers_.size() == before) std::erase_if(peers_, [](const auto& entry) { return entry.second.open == 0; });
}

}  // namespace headgate::engine
