// A source and a sink for the tests of this folder. Both outlive the relay under test, as the real ones do.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/mutex.h"
#include "base/snap_token.h"
#include "relay/upstream/upstream.h"
#include "sinks/sink.h"

namespace headgate::relay::testing {

// An ordered feed over a list of transactions, as our engine would send it.
class FakeUpstream : public Upstream {
 public:
  std::string incarnation = "7001/1";
  bool ordered = true;

  void write(const std::string& tenant, uint64_t xid, uint32_t part = 0, bool more_parts = false, size_t payload = 10) {
    auto event = std::make_shared<Event>();
    event->tenant = tenant;
    event->xid = xid;
    event->part = part;
    event->more_parts = more_parts;
    event->snap_token = encode_legacy_token(more_parts ? xid - 1 : xid);
    event->incarnation = ordered ? incarnation : "";
    event->started_at_us = 1;
    event->payload.assign(payload, 'x');
    MutexLock lock(mutex_);
    log_.push_back(std::move(event));
    changed_.notify_all();
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
  // The history is another one from now on.
  void change_history(const std::string& name) {
    {
      MutexLock lock(mutex_);
      incarnation = name;
      log_.clear();
    }
    cut();
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
    if (!request.incarnation.empty() && request.incarnation != incarnation) {
      return make_status(StatusCode::kOutOfRange, "another history");
    }
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

 private:
  // The xid behind which the tenant starts; nullopt when refused.
  std::optional<uint64_t> start_of(const UpstreamRequest& request, const std::string& tenant, uint64_t head) {
    const auto token = request.tokens.find(tenant);
    if (token == request.tokens.end()) {
      const bool new_since = std::none_of(log_.begin(), log_.end(), [&](const EventPtr& event) {
        return event->tenant == tenant && event->xid <= head;
      });
      return request.default_start == StartPolicy::kHead && !new_since ? head : 0;
    }
    const uint64_t xid = decode_snap_token(token->second).value().xid;
    const auto gone = gone_.find(tenant);
    if (gone != gone_.end() && xid <= gone->second) return std::nullopt;
    return xid;
  }

  Status stream(const UpstreamRequest& request, UpstreamListener& listener, const std::stop_token& stop,
                std::unique_lock<Mutex>& lock) {
    const int cuts = cuts_;
    const uint64_t head = log_.empty() ? 99 : log_.back()->xid;
    std::map<std::string, std::optional<uint64_t>> starts;
    std::set<std::string> names;
    for (const EventPtr& event : log_) names.insert(event->tenant);
    for (const std::string& name : names) starts[name] = start_of(request, name, head);
    const auto unlocked = [&](const auto& call) {
      lock.unlock();
      call();
      lock.lock();
    };
    unlocked([&] { listener.on_opened(ordered ? incarnation : "", ordered); });
    for (const auto& [tenant, start] : starts) {
      if (start.has_value() || !request.tenants.matches(tenant)) continue;
      unlocked([&, &name = tenant] {
        listener.on_tenant_failed({name, "HISTORY_GONE", "its history was collected", encode_position_token(head + 1)});
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
        unlocked([&] {
          if (!batch.empty()) more = listener.on_events(batch);
          if (more && ordered && !incomplete) listener.on_progress(position, encode_position_token(position));
        });
        if (!more) return make_status(StatusCode::kCancelled, "the listener has enough");
        continue;
      }
      if (sent < log_.size()) continue;
      changed_.wait(lock, stop, [&] { return sent < log_.size() || cuts_ != cuts; });
    }
    return stop.stop_requested() ? make_status(StatusCode::kCancelled, "stopped") : cut_status_;
  }

  mutable Mutex mutex_;
  Condition changed_;
  std::vector<EventPtr> log_;
  std::vector<UpstreamRequest> requests_;
  std::map<std::string, uint64_t> gone_;
  int cuts_ = 0;
  int open_ = 0;
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
  bool corked = false;                      // write() blocks
  int writing = 0;
  int opened = 0;
  size_t largest_batch = 0;
  size_t max_event_bytes = 0;
  std::function<void()> on_written;

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
  std::vector<sinks::Delivery> all() const {
    MutexLock lock(mutex);
    return written;
  }
  // "xid.part#sequence" of one tenant, GAPs with a leading "gap ".
  std::vector<std::string> of(const std::string& tenant) const {
    MutexLock lock(mutex);
    std::vector<std::string> texts;
    for (const sinks::Delivery& delivery : written) {
      const Event& event = *delivery.event;
      if (event.tenant != tenant) continue;
      const char* kind = event.kind == sinks::EventKind::kGap ? "gap " : "";
      texts.push_back(fmt::format("{}{}.{}#{}", kind, event.xid, event.part, delivery.sequence));
    }
    return texts;
  }
};

class StoreSink : public sinks::Sink {
 public:
  StoreSink(std::string name, std::shared_ptr<SinkStore> store)
      : info_{std::move(name), "fake", sinks::Guarantee::kAtLeastOnce}, store_(std::move(store)) {}

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
      if (store_->poison.count(delivery.event->xid) != 0) return {written, invalid_argument("too large")};
      store_->written.push_back(delivery);
      ++written;
    }
    if (store_->on_written) store_->on_written();
    return {written, ok_status()};
  }
  void close() override {}

 private:
  const sinks::SinkInfo info_;
  const std::shared_ptr<SinkStore> store_;
};

}  // namespace headgate::relay::testing
