#include "engine/feed/core.h"

#include <algorithm>

#include "base/log.h"

namespace headgate::engine {

namespace {

// Transactions that are compared with the database after a new connection. More than the last one: what a crash or a
// standby has lost is what committed last, and that need not be what has the highest xid.
constexpr size_t kComparedMax = 1'000;
// Transactions of which it is remembered that they were logged. Behind so many, some may be logged again.
constexpr size_t kNotedMax = 10'000;

}  // namespace

void wake_all(const FeedCore::Wakeups& wakeups) {
  for (const auto& weak : wakeups) {
    if (const auto wakeup = weak.lock()) wakeup->wake();
  }
}

std::optional<KeptHistory> FeedCore::kept() const {
  MutexLock lock(mutex);
  if (!was_connected) return std::nullopt;
  std::vector<TransactionIdentity> newest = ahead.newest(kComparedMax);
  std::ranges::move(ring.newest(kComparedMax), std::back_inserter(newest));
  return KeptHistory{incarnation.id, {ring.start(), ring.durable_end()}, ring.transactions(), std::move(newest)};
}

void FeedCore::begin(const HistorySight& sight) {
  std::vector<std::shared_ptr<StreamImpl>> opening;  // released without the mutex: that may destroy them
  MutexLock lock(mutex);
  take_locked(sight);
  ring.reset(sight.begin, sight.newest);
  for (const auto& weak : waiting_to_open) {
    opening.push_back(weak.lock());
    if (opening.back() == nullptr) continue;
    opening.back()->assert_locked();
    opening.back()->submit_opening_locked();
  }
  waiting_to_open.clear();
}

void FeedCore::go_on(const HistorySight& sight) {
  Wakeups wakeups;
  {
    MutexLock lock(mutex);
    ++stats.reconnects;
    const bool same = incarnation.id == sight.incarnation.id;
    const std::string before = incarnation.id;
    take_locked(sight);
    // Xids that left nothing behind may be handed out again.
    ring.rewind();
    if (same) {
      const Status lost = unavailable("the database lost what no stream had got yet; connect again");
      for (StreamImpl* stream : streams) {
        stream->assert_locked();
        if (!stream->rewind_locked(ring.end())) continue;
        stream->leave_locked();
        stream->end_locked(lost);
        wakeups.push_back(stream->wakeup_);
      }
    } else {
      log_warn("incarnation_changed", {{"from", before}, {"to", sight.incarnation.id}, {"history", "kept"}});
      for (StreamImpl* stream : streams) {
        stream->assert_locked();
        // Who keeps identities can show that nothing is missing.
        stream->end_locked(stream->request_.notices
                               ? unavailable("the database was promoted, with all its history; connect again")
                               : refusal(StatusCode::kOutOfRange, kOtherIncarnation,
                                         "the database was promoted; read the current state and start anew"));
        wakeups.push_back(stream->wakeup_);
      }
      parked_one.clear();
      parked_many.clear();
      ring.reset(sight.begin, sight.newest);
      ++ring_restarts;
      if (const auto workers = pool.lock()) workers->renew();
    }
  }
  wake_all(wakeups);
}

void FeedCore::begin_anew(const HistorySight& sight, const Status& status) {
  Wakeups wakeups;
  {
    MutexLock lock(mutex);
    ++stats.reconnects;
    take_locked(sight);
    end_streams_locked(status, &wakeups);
    ring.reset(sight.begin, sight.newest);
    ++ring_restarts;
    if (const auto workers = pool.lock()) workers->renew();
  }
  wake_all(wakeups);
}

void FeedCore::take_locked(const HistorySight& sight) {
  incarnation = sight.incarnation;
  ahead.clear();
  is_connected = was_connected = true;
  ++connections;
}

Status FeedCore::check_history(HistoryReader& reader) {
  HG_ASSIGN_OR_RETURN(const Incarnation found, reader.incarnation());
  const std::optional<KeptHistory> known = kept();
  if (!known) return ok_status();
  HG_ASSIGN_OR_RETURN(const bool same, all_intact(reader, known->newest));
  if (same && known->incarnation == found.id) return ok_status();
  MutexLock lock(mutex);
  must_reconnect = true;
  return unavailable("the feed and its helpers are connected to different histories");
}

void FeedCore::note_unreadable(const HistoryTransaction& transaction) {
  const bool nameless = !is_tenant_name(transaction.tenant);
  if (transaction.unreadable.rows == 0 && !nameless) return;
  {
    MutexLock lock(mutex);
    if (noted.size() >= kNotedMax) noted.clear();
    if (!noted.insert(fmt::format("{}/{}", incarnation.id, transaction.xid)).second) return;
    stats.unreadable_rows += std::max<size_t>(transaction.unreadable.rows, 1);
  }
  for (const std::string& text : transaction.unreadable.texts) {
    log_error("row_unreadable", {{"tenant", shown(transaction.tenant)}, {"xid", transaction.xid}, {"row", text}});
  }
  if (nameless) {
    log_error("row_unreadable", {{"tenant", shown(transaction.tenant)},
                                 {"xid", transaction.xid},
                                 {"row", "its tenant_id is empty or no UTF-8; no stream carries it"}});
  }
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
    ahead.drop_below(ring.end());
  }
  wake_all(wakeups);
}

void FeedCore::append_ahead(std::vector<std::vector<FeedItemPtr>> transactions) {
  Wakeups wakeups;
  {
    MutexLock lock(mutex);
    for (std::vector<FeedItemPtr>& parts : transactions) {
      wake_ahead_locked(*parts.front(), &wakeups);
      ahead.add(std::move(parts));
      ++stats.ahead;
    }
  }
  wake_all(wakeups);
}

void FeedCore::wake_ahead_locked(const FeedItem& first, Wakeups* wakeups) {
  const auto wake = [&](StreamImpl* stream) REQUIRES_LOCK(mutex) {
    stream->assert_locked();
    if (stream->request_.ahead && stream->filter_.wants(first.tenant, first.xid)) wakeups->push_back(stream->wakeup_);
  };
  if (const auto waiting = parked_one.find(first.tenant); waiting != parked_one.end()) {
    for (StreamImpl* stream : waiting->second) wake(stream);
  }
  for (StreamImpl* stream : parked_many) wake(stream);
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
    std::erase_if(ring_holes, [this](const auto& hole) REQUIRES_LOCK(mutex) { return hole.second <= ring.start(); });
    for (const TenantFloor& lost : tenants) {
      if (!lost.by_removal) ring_holes[lost.tenant] = std::max(ring_holes[lost.tenant], lost.floor);
    }
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
