#include "relay/delivery/committer.h"

namespace headgate::relay {

void Committer::on_acknowledged(size_t events) {
  if (uncommitted_ == 0) oldest_ = parts_.clock.now();
  uncommitted_ += events;
}

bool Committer::due(const SinkPlace& place, bool idle) const {
  const MonotonicTime now = parts_.clock.now();
  if (now < not_before_) return false;
  if (place.events_changed()) {
    return idle || uncommitted_ >= settings_.events_max || now - oldest_ >= settings_.interval;
  }
  if (!place.progress_changed()) return false;
  // The first mark of all makes a restart start here and not at the head of that time.
  return !progress_committed_ || now - last_commit_ >= settings_.progress_interval;
}

Status Committer::commit(std::span<const CursorUpdate> updates) {
  if (updates.empty()) return ok_status();
  const auto begin = std::chrono::steady_clock::now();
  const Status status = parts_.store.commit(sink_, updates, fence_);
  if (!status.ok()) {
    parts_.metrics.on_commit_failed();
    not_before_ = parts_.clock.now() + backoff_.next();
    return status;
  }
  parts_.metrics.on_committed(updates.size(),
                              std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
  progress_committed_ |= updates.back().tenant == kProgressTenant;
  uncommitted_ = 0;
  last_commit_ = parts_.clock.now();
  not_before_ = {};
  backoff_.reset();
  return ok_status();
}

Duration Committer::idle_wait(const SinkPlace& place) const {
  return place.events_changed() ? settings_.idle : Duration(200);
}

}  // namespace headgate::relay
