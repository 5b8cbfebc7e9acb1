#include "engine/api/memory_guard.h"

#include <algorithm>

namespace headgate::engine {
namespace {

constexpr Duration kWindow{5'000};
constexpr size_t kGrowth = 2 << 20;  // since the last end, or the next one waits: what was ended needs time to go
// Input becomes messages of a few times its size. What becomes more is no message.
constexpr double kMessageFactor = 16;
constexpr double kSmall = 16 << 10;  // below it nobody is blamed
constexpr double kLarge = 16 << 20;  // several of the largest requests
constexpr double kMiddle = 1 << 20;

int64_t balance(const ConnectionUse& one) {
  return static_cast<int64_t>(one.received) - static_cast<int64_t>(one.sent);
}

}  // namespace

bool MemoryGuard::look(size_t resident_bytes) {
  const MonotonicTime now = clock_.now();
  resident_ = resident_bytes;
  calm_over_ = false;
  if (!window_since_) {
    window_since_ = now;
    least_ = least_before_ = resident_bytes;
  }
  least_ = std::min(least_, resident_bytes);
  if (now - *window_since_ >= kWindow) {
    window_since_ = now;
    least_before_ = least_;
    least_ = resident_bytes;
    calm_over_ = true;
  }
  const size_t floor = std::min(least_, least_before_);
  rise_ = resident_bytes - std::min(resident_bytes, floor);
  at_last_end_ = std::min(at_last_end_, resident_bytes);
  return rise_ > rise_max_ / 3 && resident_bytes >= at_last_end_ + kGrowth;
}

void MemoryGuard::begin(const std::vector<ConnectionUse>& all) {
  // During a rise the marks of before it are what tells who made it.
  if (rise_ > rise_max_ / 3) return;
  marks_.clear();
  for (const ConnectionUse& one : all) marks_[one.id] = balance(one);
}

double MemoryGuard::unexplained(const ConnectionUse& one) const {
  const auto mark = marks_.find(one.id);
  const int64_t since = balance(one) - (mark == marks_.end() ? 0 : mark->second);
  return since <= 0 ? 0 : static_cast<double>(since) / static_cast<double>(1 + one.admitted);
}

std::optional<uint64_t> MemoryGuard::worst(const std::vector<ConnectionUse>& all) {
  double most = 0, sum = 0;
  std::optional<uint64_t> id;
  for (const ConnectionUse& one : all) {
    const double bytes = unexplained(one);
    sum += bytes;
    if (bytes <= most) continue;
    most = bytes;
    id = one.id;
  }
  const auto rise = static_cast<double>(rise_);
  const bool much = rise_ > rise_max_ && sum * kMessageFactor < rise && most >= kSmall;
  const bool more_than_messages = rise_ > 4 * rise_max_ && most >= kMiddle;
  if (!much && !more_than_messages && most < kLarge) return std::nullopt;
  at_last_end_ = resident_;
  return id;
}

}  // namespace headgate::engine
