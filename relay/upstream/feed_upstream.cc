#include "relay/upstream/feed_upstream.h"

#include "base/snap_token.h"
#include "headgate/v1/feed.grpc.pb.h"

namespace headgate::relay {

namespace {

namespace pb = headgate::v1;

pb::SubscribeRequest to_wire(const UpstreamRequest& request, const UpstreamSettings& settings) {
  pb::SubscribeRequest wire;
  wire.set_all_tenants(!request.tenants.exact());
  wire.set_default_start(request.default_start == StartPolicy::kHead ? pb::START_POLICY_HEAD
                                                                     : pb::START_POLICY_EARLIEST);
  if (wire.all_tenants()) wire.set_default_snap_token(request.progress_token);
  wire.set_incarnation(request.incarnation);
  wire.set_heartbeat_interval_ms(static_cast<uint32_t>(settings.heartbeat_interval.count()));
  for (const auto& [tenant, token] : request.tokens) {
    // Said once for all of them: a request that names every quiet tenant would outgrow what the engine takes.
    if (wire.all_tenants() && token == request.progress_token) continue;
    auto* position = wire.add_positions();
    position->set_tenant_id(tenant);
    position->set_snap_token(token);
  }
  if (wire.all_tenants()) return wire;
  for (const std::string& tenant : request.tenants.patterns) {
    if (request.tokens.count(tenant) == 0) wire.add_positions()->set_tenant_id(tenant);
  }
  return wire;
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
  FeedMessages(UpstreamRequest& request, UpstreamListener& listener) : request_(request), listener_(listener) {}

  // False: the listener wants no more.
  bool on_message(pb::FeedMessage& message) {
    switch (message.message_case()) {
      case pb::FeedMessage::kOpened: on_opened(message.opened()); return true;
      case pb::FeedMessage::kBatch: return on_batch(*message.mutable_batch());
      case pb::FeedMessage::kHeartbeat:
        listener_.on_progress(message.heartbeat().position(), message.heartbeat().snap_token());
        return true;
      case pb::FeedMessage::kTenant: on_tenant(message.tenant()); return true;
      default: return true;  // of a newer engine
    }
  }

 private:
  void on_opened(const pb::Opened& opened) {
    incarnation_ = opened.incarnation();
    listener_.on_opened(incarnation_, true);
    // A stream that begins at the head has, trivially, delivered everything before it.
    if (request_.tokens.empty() && request_.default_start == StartPolicy::kHead) {
      listener_.on_progress(opened.position(), opened.snap_token());
    }
    // A token of each tenant, for the whole life of the stream, would be more than what is kept of a quiet tenant.
    request_.tokens.clear();
  }

  bool on_batch(pb::Batch& batch) {
    std::vector<EventPtr> events;
    events.reserve(batch.transactions_size());
    for (pb::Transaction& transaction : *batch.mutable_transactions()) {
      if (!request_.tenants.matches(transaction.tenant_id())) continue;
      auto event = std::make_shared<Event>();
      event->tenant = std::move(*transaction.mutable_tenant_id());
      event->xid = transaction.xid();
      event->part = transaction.part();
      event->more_parts = transaction.more_parts();
      event->snap_token = std::move(*transaction.mutable_snap_token());
      event->incarnation = incarnation_;
      event->started_at_us = transaction.started_at_us();
      event->payload = std::move(*transaction.mutable_changes());
      events.push_back(std::move(event));
    }
    if (!events.empty() && !listener_.on_events(std::move(events))) return false;
    if (batch.transactions_size() == 0) return true;
    // The stream is in order of xids over all tenants, so a complete transaction is a position too.
    const pb::Transaction& last = batch.transactions(batch.transactions_size() - 1);
    if (!last.more_parts()) listener_.on_progress(last.xid() + 1, encode_position_token(last.xid() + 1));
    return true;
  }

  void on_tenant(const pb::TenantEvent& event) {
    const bool removed = event.state() == pb::TenantEvent::STATE_REMOVED || event.reason() == "TENANT_REMOVED";
    if (removed) {
      listener_.on_tenant_removed(event.tenant_id());
    } else if (event.state() == pb::TenantEvent::STATE_FAILED) {
      listener_.on_tenant_failed({event.tenant_id(), event.reason(), event.message(), event.snap_token()});
    }
  }

  UpstreamRequest& request_;
  UpstreamListener& listener_;
  std::string incarnation_;
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

}  // namespace headgate::relay
