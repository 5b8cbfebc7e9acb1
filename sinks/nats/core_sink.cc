#include "sinks/encoding/route.h"
#include "sinks/nats/message.h"
#include "sinks/nats/nats_sinks.h"

namespace headgate::sinks {
namespace {

class CoreSink : public Sink {
 public:
  CoreSink(std::string name, Encoder encoder, Route subject, HeartbeatRoutes heartbeats, NatsCoreSettings settings)
      : info_{std::move(name), "nats_core", Guarantee::kSignal, /*keeps_place=*/false},
        encoder_(std::move(encoder)),
        subject_(std::move(subject)),
        heartbeats_(std::move(heartbeats)),
        settings_(std::move(settings)) {}

  const SinkInfo& info() const override { return info_; }
  size_t max_event_bytes() const override { return max_event_bytes_; }
  void close() override { connection_.reset(); }
  StatusOr<std::map<std::string, Cursor>> recover(const std::map<std::string, Cursor>&, std::stop_token) override {
    return std::map<std::string, Cursor>();
  }

  Status open(std::stop_token) override {
    close();
    HG_ASSIGN_OR_RETURN(connection_, connect_to_nats(settings_.connection));
    max_event_bytes_ = static_cast<size_t>(std::max<int64_t>(0, natsConnection_GetMaxPayload(connection_.get())));
    return ok_status();
  }

  WriteResult write(const Batch& batch, std::stop_token stop) override {
    if (connection_ == nullptr) return {0, unavailable("nats: not connected")};
    size_t delivered = 0;
    size_t published = 0;
    Status status;
    while (published < batch.deliveries.size() && status.ok()) {
      status = publish_event(batch.deliveries[published]);
      if (status.ok()) ++published;
      // After a refusal one at a time, so that it is known which events the server took.
      if (!careful_ || !status.ok()) continue;
      if (const Status taken = confirm(stop); !taken.ok()) return {delivered, taken};
      delivered = published;
    }
    if (const Status taken = confirm(stop); !taken.ok()) return {delivered, taken};
    if (status.ok()) careful_ = false;
    return {published, status};
  }

  Status heartbeat(const Heartbeat& heartbeat, std::stop_token stop) override {
    if (connection_ == nullptr) return unavailable("nats: not connected");
    for (const Delivery& delivery : heartbeat_deliveries(heartbeat)) {
      HG_ASSIGN_OR_RETURN(const std::string subject, heartbeats_.render(delivery.event->tenant));
      HG_RETURN_IF_ERROR(publish(delivery, subject));
    }
    return confirm(stop);
  }

 private:
  Status publish_event(const Delivery& delivery) {
    HG_ASSIGN_OR_RETURN(const std::string subject, subject_.render_tenant(delivery.event->tenant));
    return publish(delivery, subject);
  }

  // Everything that was published is with the server, and it refused none of it. Else the connection is closed.
  Status confirm(std::stop_token stop) {
    Status status = flush(std::move(stop));
    if (status.ok()) status = refusal_of(connection_.get());
    if (status.ok()) return status;
    careful_ = careful_ || status.code() == StatusCode::kPermissionDenied;
    close();
    return status;
  }

  Status publish(const Delivery& delivery, const std::string& subject) {
    if (settings_.structured) {
      line_.clear();
      HG_RETURN_IF_ERROR(encoder_.encode_structured(delivery, line_));
      natsMsg* raw = nullptr;
      HG_RETURN_IF_ERROR(refused(
          natsMsg_Create(&raw, subject.c_str(), nullptr, line_.data(), static_cast<int>(line_.size())), delivery));
      const NatsOwned<natsMsg> message(raw);
      HG_RETURN_IF_ERROR(set_header(raw, "content-type", std::string(kStructuredType)));
      return refused(natsConnection_PublishMsg(connection_.get(), raw), delivery);
    }
    HG_RETURN_IF_ERROR(encoder_.encode(delivery, encoded_));
    maker_.begin(encoded_);
    HG_ASSIGN_OR_RETURN(const NatsOwned<natsMsg> message, maker_.end(subject, ""));
    return refused(natsConnection_PublishMsg(connection_.get(), message.get()), delivery);
  }

  static Status refused(natsStatus status, const Delivery& delivery) {
    return status == NATS_OK ? ok_status() : status_of_nats(status, "publish event " + event_id(delivery));
  }

  // The server has read everything when it answers a ping.
  Status flush(std::stop_token stop) {
    const auto deadline = std::chrono::steady_clock::now() + settings_.flush_timeout;
    while (true) {
      const natsStatus status = natsConnection_FlushTimeout(connection_.get(), 200);
      if (status != NATS_TIMEOUT) return status_of_nats(status, "flush");
      if (stop.stop_requested()) return make_status(StatusCode::kCancelled, "stopped");
      if (std::chrono::steady_clock::now() > deadline) return status_of_nats(status, "flush");
    }
  }

  const SinkInfo info_;
  const Encoder encoder_;
  const Route subject_;
  const HeartbeatRoutes heartbeats_;
  const NatsCoreSettings settings_;
  NatsOwned<natsConnection> connection_;
  size_t max_event_bytes_ = 0;
  Encoded encoded_;
  MessageMaker maker_;
  std::string line_;
  bool careful_ = false;  // one event at a time
};

}  // namespace

StatusOr<std::unique_ptr<Sink>> make_nats_core_sink(std::string name, const EncodingSettings& encoding,
                                                    const NatsCoreSettings& settings) {
  HG_ASSIGN_OR_RETURN(Encoder encoder, Encoder::make(encoding));
  HG_ASSIGN_OR_RETURN(Route subject, Route::parse(NameTarget::kNats, settings.subject, settings.prefix));
  HG_ASSIGN_OR_RETURN(HeartbeatRoutes heartbeats,
                      HeartbeatRoutes::parse(NameTarget::kNats, settings.heartbeat_subject, settings.prefix, subject));
  return std::make_unique<CoreSink>(std::move(name), std::move(encoder), std::move(subject), std::move(heartbeats),
                                    settings);
}

}  // namespace headgate::sinks
