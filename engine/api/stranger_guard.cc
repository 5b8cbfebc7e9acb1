#include "engine/api/stranger_guard.h"

#include <algorithm>

namespace headgate::engine {
namespace {

// TLS with a chain of certificates, the first words of HTTP/2, pings, some calls of the health service.
constexpr uint64_t kGreeting = 8 << 10;
constexpr double kConnected = 256;
constexpr double kExcusedByCall = 64 << 10;
constexpr double kPerByteSent = 1.0 / 64;  // a stream that is read says so now and then

// Who has no call is not excused by what was said to him: the health service and reflection answer everybody.
double of_no_use(const ConnectionUse& one) {
  const auto received = static_cast<double>(one.received);
  if (one.admitted == 0) return received;
  return received - static_cast<double>(one.admitted) * kExcusedByCall - static_cast<double>(one.sent) * kPerByteSent;
}

}  // namespace

Duration StrangerGuard::look_every() const { return std::clamp(first_call_max_ / 4, Duration(50), Duration(5'000)); }

std::vector<uint64_t> StrangerGuard::late(const std::vector<ConnectionUse>& all) {
  const MonotonicTime now = clock_.now();
  std::unordered_map<uint64_t, MonotonicTime> talking;
  std::vector<uint64_t> ids;
  for (const ConnectionUse& one : all) {
    if (one.admitted > 0 || one.received <= kGreeting) continue;
    const auto before = talking_since_.find(one.id);
    const MonotonicTime since = before == talking_since_.end() ? now : before->second;
    if (now - since >= first_call_max_) ids.push_back(one.id);
    talking.emplace(one.id, since);
  }
  talking_since_ = std::move(talking);
  return ids;
}

std::vector<uint64_t> StrangerGuard::to_make_room(const std::vector<ConnectionUse>& all) {
  double most = 0;
  for (const ConnectionUse& one : all) most = std::max(most, of_no_use(one));
  std::vector<uint64_t> ids;
  for (const ConnectionUse& one : all) {
    if (of_no_use(one) >= std::max(most / 2, kConnected)) ids.push_back(one.id);
  }
  return ids;
}

}  // namespace headgate::engine
