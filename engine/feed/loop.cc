#include "engine/feed/loop.h"

#include <algorithm>

#include "base/guard.h"
#include "base/log.h"

namespace headgate::engine {

namespace {

constexpr Duration kWatchInterval{100};
// Pauses of more than this many busy ones are those of a quiet database.
constexpr int kQuietIntervals = 8;
// The pause between two comparisons of all tenants, in times of what one takes.
constexpr int kComparePauses = 20;
// Far above what the server itself allows a statement: then the server is not there any more.
constexpr Duration kHungJob{60'000};

}  // namespace

FeedLoop::FeedLoop(std::shared_ptr<FeedCore> core, std::shared_ptr<CatchUpPool> pool, HistoryOpener opener)
    : core_(std::move(core)), pool_(std::move(pool)), opener_(std::move(opener)), ahead_(page_limit()) {
  follower_ = std::jthread([this](std::stop_token stop) { run(stop); });
  watcher_ = std::jthread([this](std::stop_token stop) { watch(stop); });
}

FeedLoop::~FeedLoop() {
  follower_.request_stop();
  watcher_.request_stop();
  {
    MutexLock lock(mutex_);
    if (reader_) reader_->interrupt();
  }
  follower_.join();
  watcher_.join();
}

void FeedLoop::wake() {
  {
    MutexLock lock(mutex_);
    if (std::exchange(woken_, true)) return;
  }
  changed_.notify_all();
}

void FeedLoop::run(std::stop_token stop) {
  Backoff backoff({.initial = Duration(50), .max = Duration(1'000)}, random_seed());
  while (!stop.stop_requested()) {
    {
      MutexLock lock(mutex_);
      call_since_ = system_clock().now();
    }
    StatusOr<bool> found = false;
    if (own_reader_ == nullptr) {
      const Status status = connect();
      if (!status.ok()) found = status;
    }
    if (found.ok()) found = poll();
    {
      MutexLock lock(mutex_);
      call_since_ = {};
    }
    if (found.ok()) {
      backoff.reset();
      pause(*found, stop);
    } else {
      lost(found.status(), backoff, stop);
    }
  }
}

void FeedLoop::lost(const Status& status, Backoff& backoff, std::stop_token stop) {
  replace(nullptr);
  core_->disconnected();
  if (stop.stop_requested()) return;
  const int attempt = backoff.attempts();
  // The first, the second, the fourth ...: an outage is not a flood.
  if ((attempt & (attempt - 1)) == 0) {
    log_warn("feed_lost_database", {{"error", describe(status)}, {"attempt", attempt}});
  }
  system_clock().sleep(backoff.next(), stop);
}

void FeedLoop::replace(std::unique_ptr<HistoryReader> reader) {
  own_reader_ = reader.get();
  MutexLock lock(mutex_);
  reader_ = std::move(reader);
}

Status FeedLoop::connect() {
  auto opened = opener_();
  if (!opened.ok()) return opened.status();
  replace(std::move(*opened));
  ahead_.forget();
  loading_.reset();
  HG_ASSIGN_OR_RETURN(const HistorySight sight, look_at_history(*own_reader_));
  const std::optional<KeptHistory> kept = core_->kept();
  if (!kept) {
    core_->begin(sight);
    log_info("feed_connected", {{"incarnation", sight.incarnation.id}, {"horizon", sight.horizon}});
    return ok_status();
  }
  HG_ASSIGN_OR_RETURN(const bool same, is_kept(*own_reader_, *kept));
  if (same) {
    core_->go_on(sight);
    log_info("feed_reconnected", {{"horizon", sight.horizon}});
    return ok_status();
  }
  core_->begin_anew(sight,
                    refusal(StatusCode::kOutOfRange, kHistoryReplaced,
                            "the database lost or replaced a part of its history; what was sent may not be in it "
                            "any more"));
  return ok_status();
}

StatusOr<bool> FeedLoop::poll() {
  const MonotonicTime begin = polled_at_ = system_clock().now();
  uint64_t before = 0;
  {
    MutexLock lock(core_->mutex);
    before = core_->stats.transactions + core_->stats.ahead;
  }
  HG_RETURN_IF_ERROR(take_loaded());
  bool behind = true;
  if (loading_ == nullptr) {
    HG_ASSIGN_OR_RETURN(behind, follow());
  }
  HG_RETURN_IF_ERROR(look_ahead(behind || loading_ != nullptr));
  const std::chrono::duration<double> spent = system_clock().now() - begin;
  MutexLock lock(core_->mutex);
  ++core_->stats.polls;
  core_->stats.poll_seconds += spent.count();
  core_->stats.horizon_lag = 0;
  return core_->stats.transactions + core_->stats.ahead != before;
}

// Reads what is complete. True when something has begun behind that.
StatusOr<bool> FeedLoop::follow() {
  uint64_t end = 0;
  {
    MutexLock lock(core_->mutex);
    end = core_->ring.end();
  }
  const bool quiet = interval_ > core_->settings.poll_busy * kQuietIntervals && !held_;
  HG_ASSIGN_OR_RETURN(const HistoryTail tail, own_reader_->tail(end, page_limit(), quiet));
  {
    MutexLock lock(core_->mutex);
    core_->stats.horizon = tail.horizon;
    core_->stats.horizon_lag = tail.horizon > end ? tail.horizon - end : 0;
  }
  if (tail.page.next > end) HG_RETURN_IF_ERROR(append(end, tail.page));
  if (tail.page.large) {
    load(*tail.page.large);
  } else if (tail.horizon > tail.page.next) {
    HG_RETURN_IF_ERROR(read_to(tail.horizon));
  }
  return tail.xmax > std::max(tail.horizon, tail.page.next);
}

Status FeedLoop::append(uint64_t from, const HistoryPage& page) {
  if (page.highest_floor > from && guarded(Guard::kRingFloors)) HG_RETURN_IF_ERROR(tell_collected(from));
  core_->append(encode(page, *core_), page.next);
  return ok_status();
}

std::vector<std::vector<FeedItemPtr>> FeedLoop::encode(const HistoryPage& page, FeedCore& core) {
  std::vector<std::vector<FeedItemPtr>> transactions(page.transactions.size());
  for (size_t i = 0; i < transactions.size(); ++i) {
    core.note_unreadable(page.transactions[i]);
    encode_transaction(page.transactions[i], core.settings.part_bytes_max, &transactions[i]);
  }
  return transactions;
}

Status FeedLoop::read_to(uint64_t horizon) {
  XidRange range{0, horizon};
  {
    MutexLock lock(core_->mutex);
    range.from = core_->ring.end();
  }
  while (range.from < range.to) {
    HG_ASSIGN_OR_RETURN(const HistoryPage page, own_reader_->page(range, {}, page_limit()));
    HG_RETURN_IF_ERROR(append(range.from, page));
    if (page.large) {
      load(*page.large);
      return ok_status();
    }
    range.from = page.next;
    MutexLock lock(mutex_);
    call_since_ = system_clock().now();
  }
  return ok_status();
}

// A collector was faster than this feed, which had been frozen or cut off for longer than its holds last.
Status FeedLoop::tell_collected(uint64_t from) {
  HG_ASSIGN_OR_RETURN(const std::vector<TenantFloor> collected, own_reader_->collected_behind(from, UINT64_MAX));
  for (const TenantFloor& lost : collected) {
    if (lost.by_removal) continue;
    log_warn("history_collected_ahead", {{"tenant", lost.tenant}, {"read_to", from}, {"floor", lost.floor}});
  }
  core_->collected_ahead(collected);
  return ok_status();
}

void FeedLoop::pause(bool busy, std::stop_token stop) {
  const FeedSettings& settings = core_->settings;
  interval_ = busy ? settings.poll_busy : std::min(settings.poll_idle, std::max(interval_ * 2, settings.poll_busy));
  // Many writers of this process wake the feed all the time; what they write is read together.
  const auto next = polled_at_ + settings.poll_busy;
  MutexLock lock(mutex_);
  changed_.wait_until(mutex_, stop, next, [] { return false; });
  changed_.wait_for(mutex_, stop, interval_, [&]() REQUIRES_LOCK(mutex_) { return woken_; });
  if (std::exchange(woken_, false)) interval_ = settings.poll_busy;
}

void FeedLoop::watch(std::stop_token stop) {
  while (system_clock().sleep(kWatchInterval, stop)) {
    break_hung_call();
    pool_->break_hung(kHungJob);
    end_after_outage();
    look_for_removed();
    audit();
  }
}

void FeedLoop::break_hung_call() {
  bool reconnect = false;
  {
    MutexLock lock(core_->mutex);
    reconnect = std::exchange(core_->must_reconnect, false);
  }
  MutexLock lock(mutex_);
  if (reconnect && reader_ != nullptr) reader_->interrupt();
  if (reader_ == nullptr || call_since_ == MonotonicTime{}) return;
  if (system_clock().now() - call_since_ > core_->settings.hang_max) reader_->interrupt();
}

void FeedLoop::end_after_outage() {
  {
    MutexLock lock(core_->mutex);
    const bool over = !core_->is_connected && core_->outage_since != MonotonicTime{} && !core_->streams.empty() &&
                      system_clock().now() - core_->outage_since > core_->settings.outage_grace;
    if (!over) return;
  }
  core_->end_streams(unavailable("the database has been away for too long; try again later"));
}

void FeedLoop::look_for_removed() {
  const MonotonicTime now = system_clock().now();
  {
    MutexLock lock(removals_->mutex);
    // However many tenants there are, comparing them takes a small part of the time.
    const Duration interval = std::max(core_->settings.removal_interval, removals_->took * kComparePauses);
    if ((now - removals_at_ < interval && !removals_->more) || std::exchange(removals_->running, true)) return;
  }
  removals_at_ = now;
  pool_->submit([removals = removals_, core = core_](HistoryReader& reader) {
    return look_for_removed_in(reader, *removals, *core);
  });
}

Status FeedLoop::look_for_removed_in(HistoryReader& reader, Removals& removals, FeedCore& core) {
  const MonotonicTime begin = system_clock().now();
  const Status status = compare_tenants(reader, removals, core);
  MutexLock lock(removals.mutex);
  // A job that fails with UNAVAILABLE runs again.
  removals.running = status.code() == StatusCode::kUnavailable;
  removals.took = removals.more ? Duration{} : std::chrono::duration_cast<Duration>(system_clock().now() - begin);
  return status.code() == StatusCode::kUnavailable ? status : ok_status();
}

Status FeedLoop::compare_tenants(HistoryReader& reader, Removals& removals, FeedCore& core) {
  HG_ASSIGN_OR_RETURN(const uint64_t changes, reader.tenant_changes());
  {
    MutexLock lock(removals.mutex);
    if (removals.changes == changes) return ok_status();
  }
  HG_ASSIGN_OR_RETURN(const MissedLives missed, reader.record_missed_lives());
  std::vector<std::string> removed;
  if (missed == MissedLives::kImpossible) {
    HG_ASSIGN_OR_RETURN(removed, removed_without_record(reader, removals));
  }
  if (!removed.empty()) core.tenants_removed(removed);
  MutexLock lock(removals.mutex);
  removals.more = missed == MissedLives::kMore;
  if (!removals.more) removals.changes = changes;
  return ok_status();
}

// Tenants that are gone since the last look and of which no stream will get a removal.
StatusOr<std::vector<std::string>> FeedLoop::removed_without_record(HistoryReader& reader, Removals& removals) {
  HG_ASSIGN_OR_RETURN(std::vector<std::string> registered, reader.registered());
  std::vector<std::string> removed;
  {
    MutexLock lock(removals.mutex);
    std::ranges::set_difference(removals.known, registered, std::back_inserter(removed));
    removals.known = std::move(registered);
  }
  if (removed.empty()) return removed;
  return reader.unrecorded(removed);
}

FeedLoop::Mark FeedLoop::mark() {
  MutexLock lock(core_->mutex);
  return {core_->ring.durable_end(), core_->stats.transactions, core_->ring_restarts, system_clock().now()};
}

void FeedLoop::audit() {
  {
    MutexLock lock(core_->mutex);
    if (!core_->is_connected) return;
  }
  const MonotonicTime now = system_clock().now();
  const Mark here = mark();
  if (!audited_ || audited_->ring_restarts != here.ring_restarts) {
    audited_ = here;
    to_audit_.reset();
  }
  if (!to_audit_) {
    if (now - audited_->at >= core_->settings.audit_interval) to_audit_ = here;
    return;
  }
  if (now - to_audit_->at < core_->settings.audit_delay) return;
  const XidRange range{audited_->xid, to_audit_->xid};
  const uint64_t delivered = to_audit_->transactions - audited_->transactions;
  pool_->submit([core = core_, range, delivered](HistoryReader& reader) {
    const auto rows = reader.count(range);
    if (rows.status().code() == StatusCode::kUnavailable) return rows.status();
    if (!rows.ok()) return ok_status();
    MutexLock lock(core->mutex);
    core->stats.audited += *rows;
    // Fewer rows than delivered is the collector's work or a deleted tenant.
    if (*rows > delivered) {
      core->stats.audit_missing += *rows - delivered;
      log_error("audit_found_undelivered", {{"from", range.from}, {"to", range.to}, {"missing", *rows - delivered}});
    }
    return ok_status();
  });
  audited_ = std::exchange(to_audit_, std::nullopt);
}

}  // namespace headgate::engine
