// Who owns a token store, judged by the epoch that the store holds; alike in all kinds of stores.
#pragma once

#include <algorithm>
#include <map>
#include <string>

#include "base/clock.h"
#include "base/guard.h"
#include "base/status.h"
#include "sinks/event.h"

namespace headgate::relay {

// The least epoch that a new owner may get. Sinks remember the highest they have seen and refuse a lower one for good;
// the time makes epochs rise also over a store that was lost or put back to an older copy. Milliseconds, so that
// languages whose numbers are doubles keep every one of them apart.
inline uint64_t least_epoch() { return static_cast<uint64_t>(system_clock().unix_micros() / 1'000); }
inline uint64_t epoch_after(uint64_t stored) { return std::max(stored + 1, least_epoch()); }

enum class Ownership {
  kOurs,
  kTakenOver,  // a newer owner is there
  kLost,       // the store holds less than it did: emptied, or put back to an older copy
};
// `stored`: the epoch in the store, 0 when there is none.
inline Ownership ownership(uint64_t stored, const sinks::Fence& fence) {
  if (stored == fence.epoch || !guarded(Guard::kOwnerEpoch)) return Ownership::kOurs;
  return stored > fence.epoch ? Ownership::kTakenOver : Ownership::kLost;
}

inline Status fenced(uint64_t epoch) {
  return status_of(StatusCode::kFailedPrecondition,
                   "epoch {} does not own the token store any more: another relay of the same name has taken over",
                   epoch);
}

// Tells every sink once of each loss. Not thread-safe.
class Losses {
 public:
  void add() { ++count_; }
  // DATA_LOSS when the sink has not heard of the last loss; OK from then on.
  Status tell(const std::string& sink) {
    int& told = told_[sink];
    if (told == count_) return {};
    told = count_;
    return make_status(StatusCode::kDataLoss,
                       "the token store lost what it held: it was emptied, overwritten or put back to an older copy "
                       "while the relay ran; all cursors are written anew");
  }

 private:
  int count_ = 0;
  std::map<std::string, int> told_;
};

}  // namespace headgate::relay
