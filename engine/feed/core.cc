#include "engine/feed/core.h"

#include <algorithm>

#include "base/log.h"

namespace headgate::engine {

void wake_all(const FeedCore::Wakeups& wakeups) {
  for (const auto& weak : wakeups) {
    if (const auto wakeup = weak.lock()) wakeup->wake();
  }
}

bool FeedCore::connected(const Incarnation& now, uint64_t horizon) {
  Wakeups wakeups;
  bool kept = false;
  std::vector<std::shared_ptr<StreamImpl>> opening;  // released without the mutex: that may destroy them
  {
    MutexLock lock(mutex);
    const bool same = was_connected && incarnation.id == now.id;
    if (was_connected) ++stats.reconnects;
    if (was_connected && !same) {
      log_warn("incarnation_changed", {{"from", incarnation.id}, {"to", now.id}});
      end_streams_locked(refusal(StatusCode::kOutOfRange, kOtherIncarnation,
                                 "the database was restored or promoted; read the current state and start anew"),
                         &wakeups);
    }
    incarnation = now;
    is_connected = was_connected = true;
    kept = same;
    if (!kept) {
      ring.reset(horizon);
      ++ring_restarts;
      if (const auto workers = pool.lock()) workers->renew();
    }
    for (const auto& weak : waiting_to_open) {
      opening.push_back(weak.lock());
      if (opening.back() == nullptr) continue;
      opening.back()->assert_locked();
      opening.back()->submit_opening_locked();
    }
    waiting_to_open.clear();
  }
  wake_all(wakeups);
  return kept;
}

Status FeedCore::check_incarnation(const Incarnation& found) {
  MutexLock lock(mutex);
  if (!was_connected || incarnation.id == found.id) return ok_status();
  must_reconnect = true;
  return unavailable("the feed and its helpers are connected to different databases");
}

void FeedCore::restart(const Status& status, uint64_t horizon) {
  Wakeups wakeups;
  {
    MutexLock lock(mutex);
    end_streams_locked(status, &wakeups);
    ring.reset(horizon);
    ++ring_restarts;
  }
  wake_all(wakeups);
}

void FeedCore::disconnected() {
  MutexLock lock(mutex);
  if (is_connected || outage_since == MonotonicTime{}) outage_since = system_clock().now();
  is_connected = false;
}

void FeedCore::append(const std::vector<std::vector<FeedItemPtr>>& transactions, uint64_t next) {
  Wakeups wakeups;
  {
    MutexLock lock(mutex);
    const MonotonicTime now = system_clock().now();
    for (const auto& parts : transactions) {
      ring.append(parts, now);
      ++stats.transactions;
      for (const FeedItemPtr& item : parts) stats.changes_bytes += item->changes.size();
      wake_for_locked(parts, &wakeups);
    }
    ring.advance(next);
    ring.drop_older(now);
  }
  wake_all(wakeups);
}

void FeedCore::wake_for_locked(const std::vector<FeedItemPtr>& parts, Wakeups* wakeups) {
  const FeedItem& first = *parts.front();
  if (const auto waiting = parked_one.find(first.tenant); waiting != parked_one.end()) {
    const auto woken = std::move(waiting->second);
    parked_one.erase(waiting);
    for (StreamImpl* stream : woken) {
      stream->assert_locked();
      stream->unpark_locked(first.xid);
      wakeups->push_back(stream->wakeup_);
    }
  }
  std::erase_if(parked_many, [&](StreamImpl* stream) {
    stream->assert_locked();
    if (!stream->filter_.wants(first.tenant, first.xid)) return false;
    stream->unpark_locked(first.xid);
    wakeups->push_back(stream->wakeup_);
    return true;
  });
}

void FeedCore::end_streams(const Status& status) {
  Wakeups wakeups;
  {
    MutexLock lock(mutex);
    end_streams_locked(status, &wakeups);
  }
  wake_all(wakeups);
}

void FeedCore::end_streams_locked(const Status& status, Wakeups* wakeups) {
  for (StreamImpl* stream : streams) {
    stream->assert_locked();
    stream->end_locked(status);
    wakeups->push_back(stream->wakeup_);
  }
  parked_one.clear();
  parked_many.clear();
  waiting_to_open.clear();
}

void FeedCore::tenants_removed(const std::vector<std::string>& tenants) {
  Wakeups wakeups;
  {
    MutexLock lock(mutex);
    for (StreamImpl* stream : streams) {
      stream->assert_locked();
      if (!stream->request_.notices || stream->phase_ != StreamImpl::Phase::kRunning) continue;
      for (const std::string& tenant : tenants) {
        if (stream->filter_.covers(tenant)) {
          stream->notices_.push_back({tenant, true, std::string(kTenantRemoved), "the tenant was deleted"});
        }
      }
      if (!stream->notices_.empty()) wakeups.push_back(stream->wakeup_);
    }
  }
  wake_all(wakeups);
}

void FeedCore::collected_ahead(const std::vector<TenantFloor>& tenants) {
  Wakeups wakeups;
  {
    MutexLock lock(mutex);
    ++ring_losses;
    for (StreamImpl* stream : streams) {
      stream->assert_locked();
      if (stream->lose_locked(tenants)) wakeups.push_back(stream->wakeup_);
    }
  }
  wake_all(wakeups);
}

uint64_t FeedCore::lowest_live_xid() const {
  MutexLock lock(mutex);
  uint64_t lowest = UINT64_MAX;
  for (const StreamImpl* stream : streams) {
    stream->assert_locked();
    if (stream->phase_ == StreamImpl::Phase::kEnded) continue;
    lowest = std::min(lowest, stream->parked_ ? ring.end() : stream->place_.xid);
  }
  return lowest;
}

int FeedCore::catching_up_locked() const {
  return static_cast<int>(std::ranges::count_if(streams, [](const StreamImpl* stream) {
    stream->assert_locked();
    return stream->reading_;
  }));
}

}  // namespace headgate::engine
