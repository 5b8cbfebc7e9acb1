#include "engine/api/memory_guard.h"

#include <algorithm>

namespace headgate::engine {
namespace {

constexpr Duration kWindow{5'000};
constexpr size_t kGrowth = 2 << 20;  // since the last end, or the next one waits: what was ended needs time to go
constexpr Duration kDeafPause{100};  // likewise, when calls are not answered
// Input becomes messages of a few times its size. What becomes more is no message; what becomes much more is harm.
constexpr double kMessageFactor = 16, kHarmFactor = 64;
constexpr double kPerCall = 64 << 10;  // that a call is allowed to take
constexpr double kSmall = 16 << 10;    // below it nobody is blamed
constexpr double kMiddle = 1 << 20;
constexpr double kLarge = 16 << 20;  // several of the largest requests
constexpr Duration kDeafForLong{1'000};

int64_t balance(const ConnectionUse& one) {
  return static_cast<int64_t>(one.received) - static_cast<int64_t>(one.sent);
}

// What is more than small calls are allowed. It explains memory of a few times its size.
double large_bytes(const ConnectionUse& one) {
  return std::max(0.0, static_cast<double>(balance(one)) - static_cast<double>(one.admitted) * kPerCall);
}

}  // namespace

bool MemoryGuard::look(size_t resident_bytes, Duration unanswered) {
  const MonotonicTime now = clock_.now();
  resident_ = resident_bytes;
  window_over_ = false;
  if (!window_since_) {
    window_since_ = now;
    least_ = least_before_ = resident_bytes;
  }
  least_ = std::min(least_, resident_bytes);
  if (now - *window_since_ >= kWindow) {
    window_since_ = now;
    least_before_ = least_;
    least_ = resident_bytes;
    window_over_ = true;
  }
  const size_t floor = std::min(least_, least_before_);
  rise_ = resident_bytes - std::min(resident_bytes, floor);
  at_last_end_ = std::min(at_last_end_, resident_bytes);
  unanswered_ = unanswered;
  if (deaf() && (!last_end_ || now - *last_end_ >= kDeafPause)) return true;
  return rise_ > rise_max_ / 4 && resident_bytes >= at_last_end_ + kGrowth;
}

void MemoryGuard::begin(const std::vector<ConnectionUse>& all) {
  large_before_ = large_;
  large_ = large_input(all);
  // During a rise the marks of before it are what tells who made it.
  if (rise_ > rise_max_ / 4) return;
  marks_.clear();
  for (const ConnectionUse& one : all) marks_[one.id] = balance(one);
}

void MemoryGuard::left(const ConnectionUse& one) { left_large_ += large_bytes(one); }

double MemoryGuard::large_input(const std::vector<ConnectionUse>& all) const {
  double sum = left_large_;
  for (const ConnectionUse& one : all) sum += large_bytes(one);
  return sum;
}

double MemoryGuard::unexplained(const ConnectionUse& one) const {
  const auto mark = marks_.find(one.id);
  const int64_t since = balance(one) - (mark == marks_.end() ? 0 : mark->second);
  const auto calls = static_cast<double>(one.admitted);
  return std::max(0.0, static_cast<double>(since) - calls * kPerCall) / (1 + calls);
}

std::vector<uint64_t> MemoryGuard::worst(const std::vector<ConnectionUse>& all) {
  double most = 0;
  size_t peer = 0;
  for (const ConnectionUse& one : all) {
    const double bytes = unexplained(one);
    if (bytes <= most) continue;
    most = bytes;
    peer = one.peer;
  }
  if (!to_blame(most, large_input(all) - large_before_)) return {};
  last_end_ = clock_.now();
  at_last_end_ = resident_;
  std::vector<uint64_t> ids;
  for (const ConnectionUse& one : all) {
    if (one.peer == peer && unexplained(one) >= std::max(kSmall, most / 2)) ids.push_back(one.id);
  }
  return ids;
}

bool MemoryGuard::to_blame(double most, double large) const {
  if (most < kSmall) return false;
  // A machine that is busy with the largest requests leaves calls waiting as well, but not for long.
  if (deaf() && most >= (unanswered_ < kDeafForLong ? kLarge : kMiddle)) return true;
  if (rise_ <= rise_max_ / 4) return false;
  const auto rise = static_cast<double>(rise_), allowed = static_cast<double>(rise_max_);
  // One connection that is about to fill memory with what it sends: by default the size of two of the largest requests.
  if (most >= allowed / 12) return true;
  if (rise > 4 * allowed) return most >= kMiddle;
  return large * (rise > allowed ? kMessageFactor : kHarmFactor) < rise;
}

}  // namespace headgate::engine
