// A source and a sink for the tests of this folder. Both outlive the relay under test, as the real ones do.
#pragma once

#include <atomic>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/mutex.h"
#include "base/snap_token.h"
#include "base/v1/base.pb.h"
#include "relay/upstream/upstream.h"
#include "sinks/sink.h"

namespace headgate::relay::testing {

// An ordered feed over a list of transactions, as our engine would send it.
class FakeUpstream : public Upstream {
 public:
  std::string incarnation = "7001/1";
  bool ordered = true;
  std::atomic<size_t> changes_bytes_max = 0;  // told by the streams that open from here on; 0: nothing

  void write(const std::string& tenant, uint64_t xid, uint32_t part = 0, bool more_parts = false, size_t payload = 10) {
    auto event = std::make_shared<Event>();
    event->tenant = tenant;
    event->xid = xid;
    event->part = part;
    event->more_parts = more_parts;
    event->snap_token = encode_legacy_token(more_parts ? xid - 1 : xid);
    event->incarnation = ordered ? incarnation : "";
    event->payload.assign(payload, 'x');
    append(std::move(event));
  }
  // Something in the tenant's life.
  void live(const std::string& tenant, uint64_t xid, sinks::EventKind kind) {
    auto event = std::make_shared<Event>();
    event->kind = kind;
    event->tenant = tenant;
    event->xid = xid;
    event->snap_token = encode_legacy_token(xid);
    event->incarnation = incarnation;
    append(std::move(event));
  }
  // The source has a transaction there and cannot tell it, or the first part of it; nor can its snapshots.
  void damage(const std::string& tenant, uint64_t xid, bool more_parts = false) {
    auto event = std::make_shared<Event>();
    event->kind = sinks::EventKind::kGap;
    event->in_place = true;
    event->reason = "ROW_UNREADABLE";
    event->tenant = tenant;
    event->xid = xid;
    event->more_parts = more_parts;
    event->snap_token = encode_legacy_token(more_parts ? xid - 1 : xid);
    event->incarnation = incarnation;
    append(std::move(event));
  }

  // Every stream that stands now ends with this.
  void cut(Status status = unavailable("cut")) {
    MutexLock lock(mutex_);
    ++cuts_;
    cut_status_ = std::move(status);
    changed_.notify_all();
  }
  // Starts at or before this xid are refused for the tenant, with HISTORY_GONE.
  void forget_history(const std::string& tenant, uint64_t up_to) {
    MutexLock lock(mutex_);
    gone_[tenant] = up_to;
  }
  // What came behind `xid` is lost, and the next transactions get the same xids again. Nobody can see it but by them.
  void put_back(uint64_t xid) {
    {
      MutexLock lock(mutex_);
      std::erase_if(log_, [&](const EventPtr& event) { return event->xid > xid; });
      ++era_;
    }
    cut();
  }
  // Tenants whose history was collected up to an xid: a start in front of it is served from there, and says so.
  void collect(const std::string& tenant, uint64_t up_to) {
    MutexLock lock(mutex_);
    collected_[tenant] = up_to;
  }
  // Snapshots stand still when they have brought so many pages more.
  void hold_snapshots(int pages = 0) {
    MutexLock lock(mutex_);
    pages_left_ = pages;
  }
  void release_snapshots() { hold_snapshots(1 << 30); }
  // Snapshots are read where the stream was so many xids before.
  void read_snapshots_behind(uint64_t xids) {
    MutexLock lock(mutex_);
    behind_ = xids;
  }
  // The next page of a snapshot that has begun is refused: its position is too old.
  void outdate_snapshots() {
    MutexLock lock(mutex_);
    ++outdated_;
  }
  // False: a source of the version before, which knows incarnations alone.
  bool compares = true;

  // The history is another one from now on.
  void change_history(const std::string& name) {
    {
      MutexLock lock(mutex_);
      incarnation = name;
      log_.clear();
      ++era_;
    }
    cut();
  }

  // Streams end, and from now on nobody reaches it.
  void go_away() {
    {
      MutexLock lock(mutex_);
      away_ = true;
    }
    cut();
  }

  // From the next one on, streams are refused when there have been so many.
  void limit_streams(size_t streams) {
    MutexLock lock(mutex_);
    streams_max_ = streams;
  }
  void come_back() {
    MutexLock lock(mutex_);
    away_ = false;
  }

  std::vector<UpstreamRequest> requests() const {
    MutexLock lock(mutex_);
    return requests_;
  }
  int open_streams() const {
    MutexLock lock(mutex_);
    return open_;
  }

  Status run(UpstreamRequest& request, UpstreamListener& listener, std::stop_token stop) override {
    std::unique_lock lock(mutex_);
    requests_.push_back(request);
    if (away_ || requests_.size() > streams_max_) return unavailable("away");
    if (!continues(request.progress)) return make_status(StatusCode::kOutOfRange, "another history");
    ++open_;
    const Status status = stream(request, listener, stop, lock);
    --open_;
    changed_.notify_all();
    return status;
  }

  StatusOr<std::vector<std::string>> tenants() override {
    MutexLock lock(mutex_);
    std::set<std::string> names;
    for (const EventPtr& event : log_) names.insert(event->tenant);
    return std::vector<std::string>(names.begin(), names.end());
  }

  // Each page is one transaction of the tenant; one that was deleted is not found.
  StatusOr<SnapshotPage> read_snapshot(const std::string& tenant, const std::string& snap_token,
                                       const std::string& continuation) override {
    MutexLock lock(mutex_);
    if (!ordered) return make_status(StatusCode::kUnimplemented, "no snapshots");
    if (pages_left_ == 0) return unavailable("held");
    --pages_left_;
    if (!continuation.empty() && outdated_ > 0) {
      --outdated_;
      ++passed_by_;
      return make_status(StatusCode::kOutOfRange, "collected");
    }
    SnapshotPage page;
    page.position =
        snap_token.empty() ? head() + 1 + passed_by_ - behind_ : decode_snap_token(snap_token).value().xid + 1;
    page.snap_token = encode_position_token(page.position);
    page.incarnation = incarnation;
    std::vector<EventPtr> rows;
    bool removed = false;
    for (const EventPtr& event : log_) {
      if (event->tenant != tenant) continue;
      removed = event->kind == sinks::EventKind::kTenantRemoved;
      if (event->xid >= page.position) continue;
      if (event->kind == sinks::EventKind::kTenantRemoved) rows.clear();
      if (event->kind == sinks::EventKind::kChanges) rows.push_back(event);
      if (event->kind == sinks::EventKind::kGap && continuation.empty()) ++page.unreadable_rows;
    }
    if (removed) return make_status(StatusCode::kNotFound, "no such tenant");
    const size_t at = continuation.empty() ? 0 : std::stoul(continuation);
    base::v1::DataChanges changes;
    changes.set_snap_token(page.snap_token);
    if (at < rows.size()) {
      changes.add_data_changes()->mutable_tuple()->mutable_entity()->set_id(std::to_string(rows[at]->xid));
    }
    page.changes = changes.SerializeAsString();
    if (at + 1 < rows.size()) page.continuation = std::to_string(at + 1);
    return page;
  }

 private:
  void append(std::shared_ptr<Event> event) {
    MutexLock lock(mutex_);
    event->started_at_us = era_;
    log_.push_back(std::move(event));
    changed_.notify_all();
  }

  uint64_t head() const { return log_.empty() ? 99 : log_.back()->xid; }

  Progress mark_at(uint64_t position) const {
    Progress mark{position, encode_position_token(position), incarnation};
    for (const EventPtr& event : log_) {
      if (compares && event->xid < position) mark.newest = {event->xid, event->started_at_us, event->tenant};
    }
    return mark;
  }

  bool holds(uint64_t xid, int64_t started_at_us) const {
    return std::any_of(log_.begin(), log_.end(), [&](const EventPtr& event) {
      return event->xid == xid && event->started_at_us == started_at_us;
    });
  }

  // Whether all that the client has in front of the position is still there, and nothing else.
  bool continues(const Progress& asked) const {
    if (asked.newest.xid == 0) return asked.incarnation.empty() || asked.incarnation == incarnation;
    if (asked.position > head() + 1 || !holds(asked.newest.xid, asked.newest.started_at_us)) return false;
    return std::none_of(log_.begin(), log_.end(), [&](const EventPtr& event) {
      return event->xid > asked.newest.xid && event->xid < asked.position;
    });
  }

  // The highest xid that the histories are known to share.
  uint64_t shared_xid(const UpstreamRequest& request) const {
    uint64_t shared = 0;
    for (const auto& [tenant, start] : request.starts) {
      if (holds(start.last_xid, start.last_started_at_us)) shared = std::max(shared, start.last_xid);
    }
    return shared;
  }

  // The xid behind which the tenant starts; nullopt when refused.
  std::optional<uint64_t> start_of(const UpstreamRequest& request, const std::string& tenant, uint64_t head) {
    const auto found = request.starts.find(tenant);
    const bool compared = request.progress.snap_token.empty() && !request.starts.empty() && compares;
    const uint64_t shared = compared ? shared_xid(request) : 0;
    if (found == request.starts.end()) {
      if (request.default_start != StartPolicy::kEarliest) {
        const bool new_since = std::none_of(log_.begin(), log_.end(), [&](const EventPtr& event) {
          return event->tenant == tenant && event->xid <= head;
        });
        return new_since ? 0 : head;
      }
      const auto collected = collected_.find(tenant);
      const uint64_t floor = collected == collected_.end() ? 0 : collected->second;
      return std::max({request.progress.position == 0 ? 0 : request.progress.position - 1, shared, floor});
    }
    const TenantStart& start = found->second;
    const uint64_t xid = decode_snap_token(start.snap_token).value().xid;
    if (compared && start.last_xid > shared && !holds(start.last_xid, start.last_started_at_us)) return std::nullopt;
    const auto gone = gone_.find(tenant);
    if (gone != gone_.end() && xid <= gone->second) return std::nullopt;
    return start.quiet ? std::max(xid, shared) : xid;
  }

  Status stream(const UpstreamRequest& request, UpstreamListener& listener, const std::stop_token& stop,
                std::unique_lock<Mutex>& lock) {
    const int cuts = cuts_;
    const uint64_t head = this->head();
    std::map<std::string, std::optional<uint64_t>> starts;
    std::set<std::string> names;
    for (const EventPtr& event : log_) names.insert(event->tenant);
    for (const std::string& name : names) starts[name] = start_of(request, name, head);
    const auto unlocked = [&](const auto& call) {
      lock.unlock();
      call();
      lock.lock();
    };
    if (changes_bytes_max > 0) unlocked([&] { listener.on_limits(changes_bytes_max); });
    unlocked([&] { listener.on_opened(ordered ? incarnation : "", ordered); });
    for (const auto& [tenant, start] : starts) {
      if (start.has_value() || !request.tenants.matches(tenant)) continue;
      const bool replaced = request.progress.snap_token.empty() && gone_.count(tenant) == 0;
      const uint64_t from = replaced ? shared_xid(request) : head;
      unlocked([&, &name = tenant] {
        listener.on_tenant_failed({name, replaced ? "HISTORY_REPLACED" : "HISTORY_GONE", "not there any more",
                                   encode_position_token(from + 1)});
      });
    }
    for (const auto& [tenant, floor] : std::map<std::string, uint64_t>(collected_)) {
      if (starts.count(tenant) == 0 || starts[tenant] != floor || request.starts.count(tenant) != 0) continue;
      unlocked([&, &name = tenant, &floor = floor] {
        listener.on_tenant_starts_later({name, "HISTORY_STARTS_LATER", "collected", encode_position_token(floor + 1)});
      });
    }
    size_t sent = 0;
    bool marked = false;
    while (!stop.stop_requested() && cuts_ == cuts) {
      std::vector<EventPtr> batch;
      for (; sent < log_.size() && batch.size() < 10; ++sent) {
        const EventPtr& event = log_[sent];
        if (!request.tenants.matches(event->tenant)) continue;
        if (starts.count(event->tenant) == 0) starts[event->tenant] = start_of(request, event->tenant, head);
        const auto& start = starts[event->tenant];
        if (start.has_value() && event->xid > *start) batch.push_back(event);
      }
      const uint64_t position = (sent == 0 ? head : log_[sent - 1]->xid) + 1;
      if (!batch.empty() || !marked) {
        marked = true;
        bool more = true;
        const bool incomplete = !batch.empty() && batch.back()->more_parts;
        const Progress mark = mark_at(position);
        unlocked([&] {
          if (!batch.empty()) more = listener.on_events(batch);
          if (more && ordered && !incomplete) listener.on_progress(mark);
        });
        if (!more) return make_status(StatusCode::kCancelled, "the listener has enough");
        continue;
      }
      if (sent < log_.size()) continue;
      const bool more =
          changed_.wait_for(lock, stop, Duration(20), [&] { return sent < log_.size() || cuts_ != cuts; });
      if (!more && ordered) unlocked([&, mark = mark_at(position)] { listener.on_progress(mark); });
    }
    return stop.stop_requested() ? make_status(StatusCode::kCancelled, "stopped") : cut_status_;
  }

  mutable Mutex mutex_;
  Condition changed_;
  std::vector<EventPtr> log_;
  std::vector<UpstreamRequest> requests_;
  std::map<std::string, uint64_t> gone_;
  std::map<std::string, uint64_t> collected_;
  int64_t era_ = 1;  // stands for the time at which transactions begin
  int pages_left_ = 1 << 30;
  int outdated_ = 0;
  uint64_t passed_by_ = 0;  // xids that were used elsewhere
  uint64_t behind_ = 0;
  int cuts_ = 0;
  int open_ = 0;
  bool away_ = false;
  size_t streams_max_ = SIZE_MAX;
  Status cut_status_;
};

// What a sink holds; survives the sink object.
struct SinkStore {
  mutable Mutex mutex;
  Condition changed;
  std::vector<sinks::Delivery> written;
  std::map<std::string, Cursor> recovered;  // what recover() answers
  Status failure;                           // of open() and write() while not OK
  std::set<uint64_t> poison;                // xids that are never accepted
  std::set<std::string> refused_tenants;    // of whom nothing is accepted, not even a GAP
  bool away_once_refused = false;           // fails like a sink that is away as soon as it has refused something
  bool corked = false;                      // write() blocks
  bool keeps_place = true;
  int writing = 0;
  int opened = 0;
  size_t largest_batch = 0;
  size_t max_event_bytes = 0;
  std::function<void()> on_written;
  std::vector<std::pair<std::string, uint64_t>> heartbeats;  // tenant (empty: all) and position

  static const char* kind_of(const Event& event);

  void fail_with(Status status) {
    MutexLock lock(mutex);
    failure = std::move(status);
  }
  void cork(bool value) {
    MutexLock lock(mutex);
    corked = value;
    changed.notify_all();
  }
  size_t size() const {
    MutexLock lock(mutex);
    return written.size();
  }
  std::vector<std::pair<std::string, uint64_t>> beats() const {
    MutexLock lock(mutex);
    return heartbeats;
  }
  std::vector<sinks::Delivery> all() const {
    MutexLock lock(mutex);
    return written;
  }
  // "xid.part#sequence" of one tenant, control events with their kind in front.
  std::vector<std::string> of(const std::string& tenant) const {
    MutexLock lock(mutex);
    std::vector<std::string> texts;
    for (const sinks::Delivery& delivery : written) {
      const Event& event = *delivery.event;
      if (event.tenant != tenant) continue;
      texts.push_back(fmt::format("{}{}.{}#{}", kind_of(event), event.xid, event.part, delivery.sequence));
    }
    return texts;
  }
};

inline const char* SinkStore::kind_of(const Event& event) {
  switch (event.kind) {
    case sinks::EventKind::kGap: return "gap ";
    case sinks::EventKind::kSnapshotBegin: return "begin ";
    case sinks::EventKind::kSnapshotPage: return "page ";
    case sinks::EventKind::kSnapshotEnd: return "end ";
    case sinks::EventKind::kTenantCreated: return "created ";
    case sinks::EventKind::kTenantRemoved: return "removed ";
    case sinks::EventKind::kSchemaChanged: return "schema ";
    default: return "";
  }
}

class StoreSink : public sinks::Sink {
 public:
  StoreSink(std::string name, std::shared_ptr<SinkStore> store)
      : info_{std::move(name), "fake", sinks::Guarantee::kAtLeastOnce, store->keeps_place}, store_(std::move(store)) {}

  const sinks::SinkInfo& info() const override { return info_; }
  size_t max_event_bytes() const override { return store_->max_event_bytes; }
  Status open(std::stop_token) override {
    MutexLock lock(store_->mutex);
    ++store_->opened;
    return store_->failure;
  }
  StatusOr<std::map<std::string, Cursor>> recover(const std::map<std::string, Cursor>&, std::stop_token) override {
    MutexLock lock(store_->mutex);
    return store_->recovered;
  }
  sinks::WriteResult write(const sinks::Batch& batch, std::stop_token stop) override {
    std::unique_lock lock(store_->mutex);
    ++store_->writing;
    store_->changed.wait(lock, stop, [&] { return !store_->corked; });
    --store_->writing;
    if (stop.stop_requested()) return {0, make_status(StatusCode::kCancelled, "stopped")};
    if (!store_->failure.ok()) return {0, store_->failure};
    store_->largest_batch = std::max(store_->largest_batch, batch.deliveries.size());
    size_t written = 0;
    for (const sinks::Delivery& delivery : batch.deliveries) {
      const bool refused = store_->poison.count(delivery.event->xid) != 0 && !delivery.event->payload.empty();
      if (refused || store_->refused_tenants.count(delivery.event->tenant) != 0) {
        if (store_->away_once_refused) store_->failure = make_status(StatusCode::kUnavailable, "not connected");
        return {written, invalid_argument("too large")};
      }
      store_->written.push_back(delivery);
      ++written;
    }
    if (store_->on_written) store_->on_written();
    return {written, ok_status()};
  }
  Status heartbeat(const sinks::Heartbeat& heartbeat, std::stop_token) override {
    MutexLock lock(store_->mutex);
    for (const auto& mark : heartbeat.tenants) store_->heartbeats.emplace_back(mark.tenant, heartbeat.position);
    if (heartbeat.tenants.empty()) store_->heartbeats.emplace_back("", heartbeat.position);
    return ok_status();
  }
  void close() override {}

 private:
  const sinks::SinkInfo info_;
  const std::shared_ptr<SinkStore> store_;
};

}  // namespace headgate::relay::testing
