#include "relay/delivery/snapshots.h"

#include <pthread.h>

#include <algorithm>

#include "base/log.h"
#include "base/snap_token.h"
#include "base/v1/base.pb.h"

namespace headgate::relay {

namespace {

// Their positions grow old while they take turns, so there are few at a time.
constexpr size_t kActiveMax = 8;
// In front of a continuation in Event::snapshot: more pages follow, or this was the last; the same when rows were
// untold.
constexpr char kMore = '+';
constexpr char kLast = '.';
constexpr char kMoreUntold = '-';
constexpr char kLastUntold = ':';

char prefix_of(bool last, bool untold) {
  if (last) return untold ? kLastUntold : kLast;
  return untold ? kMoreUntold : kMore;
}

EventPtr gap_behind(const Event& end) {
  auto gap = std::make_shared<Event>(end);
  gap->kind = sinks::EventKind::kGap;
  ++gap->part;
  gap->in_place = true;
  gap->reason = "ROW_UNREADABLE";
  return gap;
}

bool has_changes_in(const std::string& payload) {
  base::v1::DataChanges changes;
  return changes.ParseFromString(payload) && changes.data_changes_size() > 0;
}

}  // namespace

Snapshots::Snapshots(Parts parts, std::string session, BackoffSettings backoff)
    : parts_(parts), session_(std::move(session)), backoff_(backoff, random_seed()) {}

void Snapshots::stop() {
  if (!thread_.joinable()) return;
  thread_.request_stop();
  thread_.join();
}

void Snapshots::begin(const std::string& tenant, bool flows) {
  Job job;
  job.flows = flows;
  add(tenant, std::move(job));
}

void Snapshots::resume(const std::string& tenant, const SourcePlace::Tenant& at) {
  Job job;
  if (at.snapshot != kSnapshotDue && !at.snapshot.empty()) {
    job.begun = true;
    job.snap_token = at.snap_token;
    job.xid = at.xid;
    job.part = at.part;
    job.untold = at.snapshot[0] == kMoreUntold || at.snapshot[0] == kLastUntold;
    job.last_page = at.snapshot[0] == kLast || at.snapshot[0] == kLastUntold;
    job.continuation = at.snapshot.substr(1);
  }
  add(tenant, std::move(job));
}

void Snapshots::add(const std::string& tenant, Job job) {
  MutexLock lock(mutex_);
  job.id = ++last_id_;
  if (!jobs_.try_emplace(tenant, std::move(job)).second) return;
  waiting_.push_back(tenant);
  ++unfinished_;
  any_ = true;
  parts_.hub.set_joinable(false);
  changed_.notify_all();
  if (thread_.joinable()) return;
  thread_ = std::jthread([this](std::stop_token stop) { run(stop); });
  pthread_setname_np(thread_.native_handle(), ("snap-" + session_).substr(0, 15).c_str());
}

std::optional<uint64_t> Snapshots::cancel(const std::string& tenant, uint64_t xid) {
  MutexLock order(publishing_);
  MutexLock lock(mutex_);
  const auto found = jobs_.find(tenant);
  if (found == jobs_.end()) return 0;
  const uint64_t told = found->second.xid;
  if (xid <= told) return std::nullopt;
  if (!found->second.done) --unfinished_;
  jobs_.erase(found);
  std::erase(waiting_, tenant);
  std::erase(active_, tenant);
  std::erase_if(done_, [&](const Done& done) { return done.tenant == tenant; });
  any_ = !jobs_.empty();
  parts_.hub.set_joinable(jobs_.empty());
  return told;
}

bool Snapshots::leaves_out(const Event& event) {
  if (!any_) return false;
  MutexLock lock(mutex_);
  const auto found = jobs_.find(event.tenant);
  if (found == jobs_.end()) return false;
  found->second.highest_left_out = std::max(found->second.highest_left_out, event.xid);
  return true;
}

bool Snapshots::running(const std::string& tenant) const {
  if (!any_) return false;
  MutexLock lock(mutex_);
  return jobs_.count(tenant) != 0;
}

void Snapshots::stream_opened() {
  MutexLock lock(mutex_);
  for (auto& [tenant, job] : jobs_) job.flows = false;
  began_.reset();
}

void Snapshots::stream_began(uint64_t position) {
  MutexLock lock(mutex_);
  began_ = position;
}

std::vector<Snapshots::Done> Snapshots::take_done() {
  if (!any_) return {};
  MutexLock lock(mutex_);
  for (Done& done : done_) {
    const Job& job = jobs_.at(done.tenant);
    // Another pod of the source, which read the state, may be behind the one whose stream this is.
    const bool hole = !began_ || job.xid + 1 < *began_;
    done.missed = !job.flows || hole || job.highest_left_out > job.xid;
  }
  return std::exchange(done_, {});
}

void Snapshots::release(const std::string& tenant) {
  MutexLock lock(mutex_);
  jobs_.erase(tenant);
  any_ = !jobs_.empty();
  parts_.hub.set_joinable(jobs_.empty());
}

void Snapshots::run(std::stop_token stop) {
  while (!stop.stop_requested()) {
    const std::string tenant = next_tenant(stop);
    if (stop.stop_requested()) return;
    if (step(tenant, stop)) {
      backoff_.reset();
    } else {
      parts_.clock.sleep(backoff_.next(), stop);
    }
  }
}

std::string Snapshots::next_tenant(std::stop_token stop) {
  MutexLock lock(mutex_);
  changed_.wait(mutex_, stop, [&]() REQUIRES_LOCK(mutex_) { return !waiting_.empty() || !active_.empty(); });
  while (!waiting_.empty() && active_.size() < kActiveMax) {
    active_.push_front(std::move(waiting_.front()));
    waiting_.pop_front();
  }
  if (active_.empty()) return "";
  std::string tenant = std::move(active_.front());
  active_.pop_front();
  active_.push_back(tenant);
  return tenant;
}

bool Snapshots::step(const std::string& tenant, std::stop_token stop) {
  Job job;
  {
    MutexLock lock(mutex_);
    const auto found = jobs_.find(tenant);
    if (found == jobs_.end()) return true;
    job = found->second;
  }
  if (job.last_page) {
    Done done{tenant, event_of(tenant, job, sinks::EventKind::kSnapshotEnd)};
    if (job.untold) done.gap = gap_behind(*done.end);
    finish(tenant, job, std::move(done));
    return true;
  }
  StatusOr<SnapshotPage> page = parts_.upstream.read_snapshot(tenant, job.snap_token, job.continuation);
  if (page.ok()) return publish(tenant, job, *std::move(page), stop);
  switch (page.status().code()) {
    case StatusCode::kNotFound: finish(tenant, job, {.tenant = tenant, .end = nullptr, .told = job.xid}); return true;
    case StatusCode::kUnimplemented:
      finish(tenant, job, {.tenant = tenant, .end = nullptr, .refused = page.status()});
      return true;
    case StatusCode::kOutOfRange:
    case StatusCode::kInvalidArgument: {
      log_warn("snapshot_begins_anew", {{"session", session_}, {"tenant", tenant}, {"error", describe(page.status())}});
      MutexLock lock(mutex_);
      if (const auto found = jobs_.find(tenant); found != jobs_.end()) {
        Job anew;
        anew.id = found->second.id;
        anew.xid = found->second.xid;
        anew.flows = found->second.flows;
        anew.highest_left_out = found->second.highest_left_out;
        found->second = std::move(anew);
      }
      return false;
    }
    default:
      log_warn("snapshot_waits", {{"session", session_}, {"tenant", tenant}, {"error", describe(page.status())}});
      return false;
  }
}

bool Snapshots::publish(const std::string& tenant, const Job& before, SnapshotPage page, std::stop_token stop) {
  Job job = before;
  std::vector<HubItem> items;
  job.incarnation = page.incarnation;
  if (!job.begun) {
    job.begun = true;
    job.snap_token = page.snap_token;
    job.xid = page.position == 0 ? 0 : page.position - 1;
    items.emplace_back(event_of(tenant, job, sinks::EventKind::kSnapshotBegin));
    log_info("snapshot_begins", {{"session", session_}, {"tenant", tenant}, {"position", page.position}});
  }
  if (page.unreadable_rows > 0) {
    job.untold = true;
    log_error("source_rows_unreadable", {{"session", session_},
                                         {"tenant", tenant},
                                         {"position", page.position},
                                         {"rows", page.unreadable_rows},
                                         {"first", page.unreadable.empty() ? "" : page.unreadable.front()}});
  }
  job.continuation = page.continuation;
  job.last_page = page.continuation.empty();
  if (has_changes_in(page.changes)) {
    ++job.part;
    auto event = std::make_shared<Event>(*event_of(tenant, job, sinks::EventKind::kSnapshotPage));
    event->payload = std::move(page.changes);
    items.emplace_back(EventPtr(std::move(event)));
  }
  MutexLock order(publishing_);
  if (!is_current(tenant, before) || !parts_.hub.publish(std::move(items), stop)) return true;
  MutexLock lock(mutex_);
  const auto found = jobs_.find(tenant);
  if (found == jobs_.end()) return true;
  job.flows = found->second.flows;
  job.highest_left_out = found->second.highest_left_out;
  found->second = std::move(job);
  return true;
}

bool Snapshots::is_current(const std::string& tenant, const Job& job) const {
  MutexLock lock(mutex_);
  const auto found = jobs_.find(tenant);
  return found != jobs_.end() && found->second.id == job.id;
}

EventPtr Snapshots::event_of(const std::string& tenant, const Job& job, sinks::EventKind kind) const {
  auto event = std::make_shared<Event>();
  event->kind = kind;
  event->tenant = tenant;
  event->xid = job.xid;
  event->part = kind == sinks::EventKind::kSnapshotEnd ? job.part + 1 : job.part;
  event->snap_token = job.snap_token;
  event->incarnation = job.incarnation;
  event->started_at_us = parts_.clock.unix_micros();
  if (kind != sinks::EventKind::kSnapshotEnd) event->snapshot = prefix_of(job.last_page, job.untold) + job.continuation;
  return event;
}

void Snapshots::finish(const std::string& tenant, const Job& job, Done done) {
  MutexLock lock(mutex_);
  const auto found = jobs_.find(tenant);
  if (found == jobs_.end() || found->second.id != job.id) return;
  found->second.done = true;
  std::erase(active_, tenant);
  --unfinished_;
  done_.push_back(std::move(done));
}

}  // namespace headgate::relay
