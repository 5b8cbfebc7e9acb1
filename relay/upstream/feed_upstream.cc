#include "relay/upstream/feed_upstream.h"

#include <algorithm>

#include "base/log.h"
#include "base/snap_token.h"
#include "headgate/v1/feed.grpc.pb.h"

namespace headgate::relay {

namespace {

namespace pb = headgate::v1;

void to_wire(const Identity& identity, pb::TransactionIdentity& wire) {
  wire.set_xid(identity.xid);
  wire.set_started_at_us(identity.started_at_us);
  wire.set_tenant_id(identity.tenant);
}

Identity identity_of(const pb::TransactionIdentity& wire) {
  return {wire.xid(), wire.started_at_us(), wire.tenant_id()};
}

// Transactions whose commits a server may still lose while it keeps later ones: as many as were under way at once.
constexpr size_t kRecentMax = 64;
// What is older may be gone because a collector took it that leaves no trace.
constexpr Duration kRecentAgeMax{24 * 3'600'000};

pb::SubscribeRequest to_wire(const UpstreamRequest& request, const UpstreamSettings& settings) {
  pb::SubscribeRequest wire;
  wire.set_all_tenants(!request.tenants.exact());
  wire.set_ahead(true);
  wire.set_default_start(request.default_start == StartPolicy::kEarliest ? pb::START_POLICY_EARLIEST
                                                                         : pb::START_POLICY_HEAD);
  const Progress& progress = request.progress;
  if (wire.all_tenants()) {
    wire.set_default_snap_token(progress.snap_token);
    if (progress.newest.xid != 0) to_wire(progress.newest, *wire.mutable_default_last());
  }
  wire.set_incarnation(progress.incarnation);
  wire.set_heartbeat_interval_ms(static_cast<uint32_t>(settings.heartbeat_interval.count()));
  if (progress.recent != nullptr) {
    const int64_t oldest = system_clock().unix_micros() - kRecentAgeMax.count() * 1'000;
    for (const Identity& identity : *progress.recent) {
      if (identity.started_at_us >= oldest) to_wire(identity, *wire.add_recent());
    }
  }
  for (const auto& [tenant, start] : request.starts) {
    // Said once for all of them: a request that names every quiet tenant would outgrow what the engine takes.
    if (wire.all_tenants() && start.quiet && start.snap_token == progress.snap_token) continue;
    auto* position = wire.add_positions();
    position->set_tenant_id(tenant);
    position->set_snap_token(start.snap_token);
    position->set_quiet(start.quiet);
    position->set_ahead(start.ahead);
    if (start.last_xid != 0) to_wire({start.last_xid, start.last_started_at_us, tenant}, *position->mutable_last());
  }
  if (wire.all_tenants()) return wire;
  for (const std::string& tenant : request.tenants.patterns) {
    if (request.starts.count(tenant) == 0) wire.add_positions()->set_tenant_id(tenant);
  }
  return wire;
}

sinks::EventKind kind_of(const pb::Transaction& transaction) {
  switch (transaction.kind()) {
    case pb::Transaction::KIND_TENANT_CREATED: return sinks::EventKind::kTenantCreated;
    case pb::Transaction::KIND_TENANT_REMOVED: return sinks::EventKind::kTenantRemoved;
    case pb::Transaction::KIND_SCHEMA_CHANGED: return sinks::EventKind::kSchemaChanged;
    case pb::Transaction::KIND_CHANGES: return sinks::EventKind::kChanges;
    default: return sinks::EventKind::kGap;  // unreadable, or of a newer engine
  }
}

void take_gap(const pb::Transaction& transaction, Event& event) {
  event.in_place = true;
  event.reason = transaction.reason().empty() ? "EVENT_UNKNOWN" : transaction.reason();
  log_error("source_event_unreadable", {{"tenant", event.tenant},
                                        {"xid", event.xid},
                                        {"kind", static_cast<int>(transaction.kind())},
                                        {"reason", event.reason},
                                        {"rows", transaction.message()}});
}

// One Subscribe call, driven through a completion queue of its own so that every wait has a deadline.
class FeedCall {
 public:
  FeedCall(const std::shared_ptr<grpc::Channel>& channel, const ChannelMaker& maker,
           const pb::SubscribeRequest& request, std::stop_token stop)
      : stub_(pb::Feed::NewStub(channel)), cancel_(stop, [this] { context_.TryCancel(); }) {
    maker.authorize(context_);
    reader_ = stub_->PrepareAsyncSubscribe(&context_, request, &queue_);
  }
  // Every operation that was started has ended by then: wait() sees to it.
  ~FeedCall() {
    queue_.Shutdown();
    void* tag = nullptr;
    bool ok = false;
    while (queue_.Next(&tag, &ok)) {
    }
  }

  bool start(Duration timeout) {
    reader_->StartCall(this);
    return wait(timeout);
  }
  bool read(pb::FeedMessage& message, Duration timeout) {
    reader_->Read(&message, this);
    return wait(timeout);
  }
  Status finish() {
    grpc::Status status;
    reader_->Finish(&status, this);
    wait(Duration(1'000));
    if (!silence_.ok()) return silence_;
    return to_status(status);
  }
  void cancel() { context_.TryCancel(); }
  bool was_silent() const { return !silence_.ok(); }

 private:
  // The outcome of the operation in flight. A time-out cancels the call, which ends the operation.
  bool wait(Duration timeout) {
    void* tag = nullptr;
    bool ok = false;
    const gpr_timespec deadline =
        gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC), gpr_time_from_millis(timeout.count(), GPR_TIMESPAN));
    if (queue_.AsyncNext(&tag, &ok, deadline) == grpc::CompletionQueue::GOT_EVENT) return ok;
    silence_ = unavailable("the source was silent for {} ms; the connection is taken for dead", timeout.count());
    context_.TryCancel();
    queue_.Next(&tag, &ok);
    return false;
  }

  std::unique_ptr<pb::Feed::Stub> stub_;
  grpc::ClientContext context_;
  grpc::CompletionQueue queue_;
  std::unique_ptr<grpc::ClientAsyncReader<pb::FeedMessage>> reader_;
  Status silence_;
  std::stop_callback<std::function<void()>> cancel_;
};

// Turns messages into calls of the listener.
class FeedMessages {
 public:
  FeedMessages(UpstreamRequest& request, UpstreamListener& listener) : request_(request), listener_(listener) {
    if (request.progress.recent != nullptr) recent_ = *request.progress.recent;
    for (const Identity& one : recent_) {
      if (one.xid < request.progress.position) newest_in_order_ = std::max(newest_in_order_, one.xid);
    }
    // When every tenant is compared by name, nobody could be told of one that has none.
    if (request.progress.snap_token.empty()) {
      std::erase_if(recent_, [&](const Identity& one) { return request.starts.count(one.tenant) == 0; });
    }
  }

  // False: the listener wants no more.
  bool on_message(pb::FeedMessage& message) {
    switch (message.message_case()) {
      case pb::FeedMessage::kOpened: on_opened(message.opened()); return true;
      case pb::FeedMessage::kBatch: return on_batch(*message.mutable_batch());
      case pb::FeedMessage::kHeartbeat: on_heartbeat(message.heartbeat()); return true;
      case pb::FeedMessage::kTenant: on_tenant(message.tenant()); return true;
      default: return true;  // of a newer engine
    }
  }

 private:
  void on_opened(const pb::Opened& opened) {
    incarnation_ = opened.incarnation();
    const pb::Limits& limits = opened.limits();
    if (opened.has_limits()) {
      listener_.on_limits(
          std::max<size_t>({limits.attribute_json_bytes_max(), limits.part_json_bytes_max(), limits.part_bytes_max()}));
    }
    listener_.on_opened(incarnation_, true);
    // A stream that begins at the head has, trivially, delivered everything before it.
    if (request_.starts.empty() && request_.progress.snap_token.empty() &&
        request_.default_start != StartPolicy::kEarliest) {
      tell_progress({opened.position(), opened.snap_token(), incarnation_, identity_of(opened.newest())});
    }
    // A token of each tenant, for the whole life of the stream, would be more than what is kept of a quiet tenant.
    request_.starts.clear();
  }

  void on_heartbeat(const pb::Heartbeat& heartbeat) {
    tell_progress({heartbeat.position(), heartbeat.snap_token(), incarnation_, identity_of(heartbeat.newest())});
  }

  void tell_progress(Progress mark) {
    if (told_ == nullptr) told_ = std::make_shared<const std::vector<Identity>>(recent_);
    mark.recent = told_;
    listener_.on_progress(mark);
  }

  // Of transactions alone: what a collector removes of tenants' lives, it removes without a word.
  void remember(const pb::Transaction& transaction) {
    const bool of_life = transaction.kind() != pb::Transaction::KIND_CHANGES;
    if (of_life || transaction.more_parts() || transaction.started_at_us() == 0) return;
    // What is sent again came before.
    if (!transaction.ahead() && transaction.xid() <= newest_in_order_) return;
    if (!transaction.ahead()) newest_in_order_ = transaction.xid();
    if (std::ranges::find(recent_, transaction.xid(), &Identity::xid) != recent_.end()) return;
    if (recent_.size() == kRecentMax) recent_.erase(recent_.begin());
    recent_.push_back({transaction.xid(), transaction.started_at_us(), transaction.tenant_id()});
    told_ = nullptr;
  }

  bool on_batch(pb::Batch& batch) {
    std::vector<EventPtr> events;
    events.reserve(batch.transactions_size());
    Identity newest;
    if (batch.transactions_size() > 0) {
      const pb::Transaction& last = batch.transactions(batch.transactions_size() - 1);
      newest = {last.xid(), last.started_at_us(), last.tenant_id()};
    }
    for (pb::Transaction& transaction : *batch.mutable_transactions()) {
      if (!request_.tenants.matches(transaction.tenant_id())) continue;
      remember(transaction);
      auto event = std::make_shared<Event>();
      event->tenant = std::move(*transaction.mutable_tenant_id());
      event->xid = transaction.xid();
      event->part = transaction.part();
      event->more_parts = transaction.more_parts();
      event->snap_token = std::move(*transaction.mutable_snap_token());
      event->incarnation = incarnation_;
      event->started_at_us = transaction.started_at_us();
      event->payload = std::move(*transaction.mutable_changes());
      event->kind = kind_of(transaction);
      event->schema_version = std::move(*transaction.mutable_schema_version());
      event->previous_schema_version = std::move(*transaction.mutable_previous_schema_version());
      event->late = transaction.late();
      if (event->kind == sinks::EventKind::kGap) take_gap(transaction, *event);
      events.push_back(std::move(event));
    }
    if (batch.transactions_size() == 0) return true;
    const pb::Transaction& last = batch.transactions(batch.transactions_size() - 1);
    const bool complete = !last.more_parts();
    if (!events.empty() && !listener_.on_events(std::move(events))) return false;
    // But for what is ahead, the stream is in order of xids over all tenants, so a complete transaction is a position
    // too.
    if (complete && !last.ahead()) {
      tell_progress({newest.xid + 1, encode_position_token(newest.xid + 1), incarnation_, std::move(newest)});
    }
    return true;
  }

  void on_tenant(const pb::TenantEvent& event) {
    const bool removed = event.state() == pb::TenantEvent::STATE_REMOVED || event.reason() == "TENANT_REMOVED";
    const TenantFailure told{event.tenant_id(), event.reason(), event.message(), event.snap_token()};
    if (event.state() != pb::TenantEvent::STATE_STARTS_LATER) {
      // Whatever comes of it from here on, it is not the history behind these.
      std::erase_if(recent_, [&](const Identity& one) { return one.tenant == told.tenant; });
      told_ = nullptr;
    }
    if (removed) {
      listener_.on_tenant_removed(told.tenant);
    } else if (event.state() == pb::TenantEvent::STATE_FAILED) {
      listener_.on_tenant_failed(told);
    } else if (event.state() == pb::TenantEvent::STATE_STARTS_LATER) {
      listener_.on_tenant_starts_later(told);
    }
  }

  UpstreamRequest& request_;
  UpstreamListener& listener_;
  std::string incarnation_;
  std::vector<Identity> recent_;                       // in the order of arrival
  uint64_t newest_in_order_ = 0;                       // the last one that was not ahead
  std::shared_ptr<const std::vector<Identity>> told_;  // the same; null when it has changed
};

}  // namespace

FeedUpstream::FeedUpstream(UpstreamSettings settings, ChannelMaker maker)
    : settings_(std::move(settings)), maker_(std::move(maker)) {
  give_up(nullptr);
}

std::shared_ptr<grpc::Channel> FeedUpstream::channel() const {
  MutexLock lock(mutex_);
  return channel_;
}

void FeedUpstream::give_up(const std::shared_ptr<grpc::Channel>& channel) {
  MutexLock lock(mutex_);
  if (channel_ != channel) return;
  channel_ = maker_.make(settings_.keepalive);
  watch_ = std::make_unique<ConnectionWatch>(std::vector{channel_});
}

Status FeedUpstream::run(UpstreamRequest& request, UpstreamListener& listener, std::stop_token stop) {
  const std::shared_ptr<grpc::Channel> channel = this->channel();
  FeedCall call(channel, maker_, to_wire(request, settings_), stop);
  FeedMessages messages(request, listener);
  pb::FeedMessage message;
  const Duration silence = settings_.heartbeat_interval * settings_.heartbeats_missed;
  bool going = call.start(settings_.call_timeout);
  // The engine decides about thousands of starts before it opens the stream.
  Duration timeout = std::max(silence, settings_.call_timeout * 6);
  while (going && call.read(message, timeout)) {
    going = messages.on_message(message);
    timeout = silence;
  }
  if (!going) call.cancel();
  const Status status = call.finish();
  // The next call on it would be as silent, until the pings of the connection found out.
  if (call.was_silent()) give_up(channel);
  if (stop.stop_requested()) return make_status(StatusCode::kCancelled, "stopped");
  return status;
}

StatusOr<std::vector<std::string>> FeedUpstream::tenants() {
  const std::shared_ptr<grpc::Channel> channel = this->channel();
  auto listed = list_tenants(channel, maker_, settings_.call_timeout);
  if (listed.status().code() == StatusCode::kDeadlineExceeded) give_up(channel);
  return listed;
}

StatusOr<SnapshotPage> FeedUpstream::read_snapshot(const std::string& tenant, const std::string& snap_token,
                                                   const std::string& continuation) {
  const std::shared_ptr<grpc::Channel> channel = this->channel();
  grpc::ClientContext context;
  maker_.authorize(context);
  context.set_deadline(std::chrono::system_clock::now() + settings_.call_timeout);
  pb::ReadSnapshotRequest request;
  request.set_tenant_id(tenant);
  request.set_snap_token(snap_token);
  request.set_continuation(continuation);
  pb::SnapshotPage page;
  const grpc::Status status = pb::Feed::NewStub(channel)->ReadSnapshot(&context, request, &page);
  if (status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED) give_up(channel);
  if (!status.ok()) return to_status(status);
  return SnapshotPage{page.position(),
                      std::move(*page.mutable_snap_token()),
                      std::move(*page.mutable_incarnation()),
                      std::move(*page.mutable_changes()),
                      std::move(*page.mutable_continuation()),
                      identity_of(page.newest()),
                      page.unreadable_rows(),
                      {page.unreadable().begin(), page.unreadable().end()}};
}

}  // namespace headgate::relay
