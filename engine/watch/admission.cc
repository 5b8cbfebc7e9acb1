#include "engine/watch/admission.h"

namespace headgate::engine {

namespace {

// Then all are forgotten: a burst more for everybody is better than memory without a bound.
constexpr size_t kClientsMax = 10'000;

}  // namespace

Status Admission::admit(const std::string& peer, Duration* retry_after) {
  const std::string address = peer.substr(0, peer.rfind(':'));
  MutexLock lock(mutex_);
  if (buckets_.size() >= kClientsMax && !buckets_.contains(address)) buckets_.clear();
  auto& bucket = buckets_[address];
  if (bucket == nullptr) bucket = std::make_unique<TokenBucket>(rate_, burst_, clock_);
  if (bucket->try_take()) return ok_status();
  *retry_after = bucket->wait_time() + Duration(1);
  return make_status(StatusCode::kResourceExhausted, "this address opens streams too often; wait before the next one");
}

}  // namespace headgate::engine
