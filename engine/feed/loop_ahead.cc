// The following thread's part that goes on while something holds the ring's end back.
#include "base/log.h"
#include "engine/feed/loop.h"

namespace headgate::engine {

namespace {

// Somebody of whom nothing is known should not hold all tenants back for longer without a word.
constexpr Duration kToldAfter{1'000};

}  // namespace

void FeedLoop::load(const HistoryTransaction& large) {
  loading_ = std::make_shared<Loading>();
  loading_->xid = large.xid;
  ahead_.hold(large.xid, large.tenant);
  pool_->submit([loading = loading_, core = core_](HistoryReader& reader) { return load_in(reader, *loading, *core); });
}

Status FeedLoop::load_in(HistoryReader& reader, Loading& loading, FeedCore& core) {
  StatusOr<HistoryPage> page = reader.page({loading.xid, loading.xid + 1}, {}, core.settings.page_changes);
  if (page.status().code() == StatusCode::kUnavailable) return page.status();
  std::vector<std::vector<FeedItemPtr>> transactions;
  if (page.ok()) transactions = encode(*page, core);
  MutexLock lock(loading.mutex);
  loading.done = true;
  loading.status = page.status();
  loading.transactions = std::move(transactions);
  loading.highest_floor = page.ok() ? page->highest_floor : 0;
  return ok_status();
}

Status FeedLoop::take_loaded() {
  if (loading_ == nullptr) return ok_status();
  // Outlives the lock.
  const std::shared_ptr<Loading> loaded = loading_;
  MutexLock lock(loaded->mutex);
  if (!loaded->done) return ok_status();
  loading_ = nullptr;
  HG_RETURN_IF_ERROR(loaded->status);
  if (loaded->highest_floor > loaded->xid) HG_RETURN_IF_ERROR(tell_collected(loaded->xid));
  core_->append(loaded->transactions, loaded->xid + 1);
  return ok_status();
}

Status FeedLoop::look_ahead(bool behind) {
  const MonotonicTime now = system_clock().now();
  uint64_t end = 0;
  bool full = false;
  {
    MutexLock lock(core_->mutex);
    end = core_->ring.end();
    full = core_->ahead.full();
    held_ = behind && end == held_end_;
    if (!held_) held_since_ = now;
    held_end_ = end;
    held_ &= tells_ahead() && now - held_since_ >= core_->settings.ahead_after;
    core_->stats.held_seconds = held_ ? std::chrono::duration<double>(now - held_since_).count() : 0;
    if (!held_) core_->stats.holding.clear();
  }
  if (!held_ || full || now - ahead_at_ < core_->settings.ahead_interval) return ok_status();
  HG_ASSIGN_OR_RETURN(const std::vector<HistoryTransaction> found, ahead_.look(*own_reader_, end));
  ahead_at_ = system_clock().now();
  tell_holding(ahead_.running(), std::chrono::duration_cast<Duration>(ahead_at_ - held_since_));
  if (!found.empty()) core_->append_ahead(encode({.transactions = found}, *core_));
  return ok_status();
}

void FeedLoop::tell_holding(const Running& running, Duration held) {
  {
    MutexLock lock(core_->mutex);
    core_->stats.holding = running.transactions;
  }
  if (held < kToldAfter) return;
  for (const RunningTransaction& one : running.transactions) {
    if (!one.may_be_anybodys() || one.xid <= told_holding_) continue;
    told_holding_ = one.xid;
    log_warn("feed_held_back", {{"xid", one.xid},
                                {"pid", one.holder.backend},
                                {"application", one.holder.application},
                                {"why", "a transaction in progress may change any tenant, so all wait for its end"}});
  }
}

}  // namespace headgate::engine
