// The edge of gRPC's port, where connections are judged from outside: names of peers, limits, and who is sent away. The
// first line names a peer as gRPC does, the others are steps:
//   enter NETWORK   leave NETWORK   slow NETWORK   wait MS
//   use RECEIVED SENT ADMITTED PEER   look RESIDENT_KIB UNANSWERED_MS   call
#include <charconv>
#include <map>

#include "engine/api/memory_guard.h"
#include "engine/api/peer_limits.h"
#include "engine/api/stranger_guard.h"
#include "engine/rpc/admitted_calls.h"
#include "tests/fuzz/input.h"
#include "tests/fuzz/properties.h"

namespace headgate::fuzz {
namespace {

using engine::ConnectionUse;

constexpr engine::ConnectionLimits kLimits{8, 4, 2, 6};

std::string_view word(std::string_view& line) {
  const size_t end = std::min(line.find(' '), line.size());
  const std::string_view word = line.substr(0, end);
  line.remove_prefix(std::min(end + 1, line.size()));
  return word;
}

uint64_t number(std::string_view& line) {
  const std::string_view text = word(line);
  uint64_t value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value % (uint64_t{1} << 40);
}

void try_name(std::string_view name) {
  static engine::AdmittedCalls calls;
  calls.note(name);
  const PeerAddress v4{"10.0.0.1", "10.0.0.1", 4711}, v6{"2001:db8::1", "2001:db8::/64", 4711};
  for (const auto& [text, peer] : {std::pair("ipv4:10.0.0.1:4711", v4), std::pair("ipv6:%5B2001:db8::1%5D:4711", v6),
                                   std::pair("ipv6:[2001:db8::1]:4711", v6)}) {
    const uint32_t before = calls.of(peer);
    calls.note(text);
    demand(calls.of(peer) == before + 1, "a call of {} is not its own", text);
  }
}

class Edge {
 public:
  void step(std::string_view line) {
    const std::string_view what = word(line);
    if (what == "enter") enter(std::string(line));
    if (what == "leave") leave(std::string(line));
    if (what == "slow") limits_.slow_down(std::string(line), Duration(10'000));
    if (what == "wait") clock_.advance(Duration(static_cast<int64_t>(number(line) % 100'000)));
    if (what == "use") use(line);
    if (what == "look") look(line);
    if (what == "call" && !uses_.empty()) uses_.back().admitted += 1;
  }

  // Whoever is there can be sent away, and is in few steps: a shortage ends.
  void finish() {
    for (int steps = 0;; ++steps) {
      const std::vector<uint64_t> ids = engine::StrangerGuard::to_make_room(uses_);
      if (ids.empty()) break;
      demand(steps < 64 + 40, "a shortage does not end");
      end(ids);
    }
    for (const ConnectionUse& one : uses_) {
      demand(one.admitted > 0 || one.received < 256, "{} bytes without a call stay in a shortage", one.received);
    }
  }

 private:
  void enter(const std::string& network) {
    if (limits_.enter(network) != engine::Refusal::kNone) return;
    demand(++open_[network] <= kLimits.of_peer, "too many of {}", network);
    demand(limits_.open() <= kLimits.in_all, "too many");
  }
  void leave(const std::string& network) {
    const auto at = open_.find(network);
    if (at == open_.end()) return;
    limits_.left(network);
    if (--at->second == 0) open_.erase(at);
    size_t sum = 0;
    for (const auto& entry : open_) sum += entry.second;
    demand(sum == limits_.open(), "{} are open, {} are counted", sum, limits_.open());
  }
  void use(std::string_view line) {
    if (uses_.size() >= 64) return;
    ConnectionUse one;
    one.id = ++last_id_;
    one.received = number(line);
    one.sent = number(line);
    one.admitted = number(line) % 1'000'000;
    one.peer = number(line) % 4;
    uses_.push_back(one);
  }
  void look(std::string_view line) {
    const auto resident = static_cast<size_t>(number(line)) << 10;
    const bool alarmed = guard_.look(resident, Duration(static_cast<int64_t>(number(line) % 10'000)));
    if (guard_.window_over()) guard_.begin(uses_);
    for (const uint64_t id : strangers_.late(uses_)) {
      for (const ConnectionUse& one : uses_) demand(one.id != id || one.admitted == 0, "one with calls is late");
    }
    if (alarmed) end(guard_.worst(uses_));
  }
  void end(const std::vector<uint64_t>& ids) {
    for (const uint64_t id : ids) {
      const auto at = std::find_if(uses_.begin(), uses_.end(), [&](const auto& one) { return one.id == id; });
      demand(at != uses_.end(), "one that is not there is ended");
      guard_.left(*at);
      uses_.erase(at);
    }
  }

  ManualClock clock_;
  engine::PeerLimits limits_{kLimits, clock_};
  engine::MemoryGuard guard_{96 << 20, clock_};
  engine::StrangerGuard strangers_{Duration(30'000), clock_};
  std::map<std::string, size_t> open_;
  std::vector<ConnectionUse> uses_;
  uint64_t last_id_ = 0;
};

}  // namespace

void connections_target(std::string_view input) {
  Input lines(input);
  try_name(lines.line());
  Edge edge;
  while (!lines.at_end()) edge.step(lines.line());
  edge.finish();
}

}  // namespace headgate::fuzz
