#include <array>

#include "base/redis/client.h"
#include "base/redis/errors.h"
#include "sinks/encoding/cloud_event.h"
#include "sinks/encoding/route.h"
#include "sinks/redis/redis_sinks.h"

namespace headgate::sinks {
namespace {

constexpr size_t kPushed = 64;  // commands that the server may have while others are still being made

class PubsubSink : public Sink {
 public:
  PubsubSink(std::string name, Encoder encoder, Route channel, HeartbeatRoutes heartbeats, RedisPubsubSettings settings)
      : info_{std::move(name), "redis_pubsub", Guarantee::kSignal, /*keeps_place=*/false},
        encoder_(std::move(encoder)),
        channel_(std::move(channel)),
        heartbeats_(std::move(heartbeats)),
        settings_(std::move(settings)) {}

  const SinkInfo& info() const override { return info_; }
  size_t max_event_bytes() const override { return settings_.event_bytes_max; }
  Status open(std::stop_token stop) override { return client_.open(stop); }
  void close() override { client_.close(); }
  StatusOr<std::map<std::string, Cursor>> recover(const std::map<std::string, Cursor>&, std::stop_token) override {
    return std::map<std::string, Cursor>();
  }

  WriteResult write(const Batch& batch, std::stop_token stop) override { return publish_all(batch.deliveries, stop); }

  Status heartbeat(const Heartbeat& heartbeat, std::stop_token stop) override {
    return publish_all(heartbeat_deliveries(heartbeat), stop).status;
  }

 private:
  WriteResult publish_all(std::span<const Delivery> deliveries, std::stop_token stop) {
    if (!client_.is_open()) return {0, unavailable("redis: not connected")};
    redis::Connection& connection = *client_.any();
    size_t queued = 0;
    Status refused;
    for (const Delivery& delivery : deliveries) {
      refused = publish(connection, delivery);
      if (!refused.ok()) break;
      if (++queued % kPushed == 0) connection.push();
    }
    if (queued == 0) return {0, refused};
    std::vector<redis::Reply> replies;
    const Status exchanged = connection.exchange(replies, stop);
    for (size_t i = 0; i < replies.size(); ++i) {
      if (!redis::is_error(replies[i].get())) continue;
      return {i, redis::status_of_error(redis::text_of(replies[i].get()), connection.name())};
    }
    return {replies.size(), exchanged.ok() ? refused : exchanged};
  }

  Status publish(redis::Connection& connection, const Delivery& delivery) {
    const std::string& tenant = delivery.event->tenant;
    const bool beat = delivery.event->kind == EventKind::kHeartbeat;
    HG_ASSIGN_OR_RETURN(const std::string channel, beat ? heartbeats_.render(tenant) : channel_.render_tenant(tenant));
    line_.clear();
    HG_RETURN_IF_ERROR(encoder_.encode_structured(delivery, line_));
    if (line_.size() > settings_.event_bytes_max) {
      return invalid_argument("redis: event {} has {} bytes, event_bytes_max is {}", event_id(delivery), line_.size(),
                              settings_.event_bytes_max);
    }
    connection.append(std::array<std::string_view, 3>{"PUBLISH", channel, line_});
    return ok_status();
  }

  const SinkInfo info_;
  const Encoder encoder_;
  const Route channel_;
  const HeartbeatRoutes heartbeats_;
  const RedisPubsubSettings settings_;
  redis::Client client_{settings_.connection};
  std::string line_;
};

}  // namespace

StatusOr<std::unique_ptr<Sink>> make_redis_pubsub_sink(std::string name, const EncodingSettings& encoding,
                                                       const RedisPubsubSettings& settings) {
  if (const Status status = redis::check(settings.connection); !status.ok()) {
    return invalid_argument("sink '{}': {}", name, message_of(status));
  }
  HG_ASSIGN_OR_RETURN(Encoder encoder, Encoder::make(encoding));
  HG_ASSIGN_OR_RETURN(Route channel, Route::parse(NameTarget::kRedis, settings.channel, settings.prefix));
  HG_ASSIGN_OR_RETURN(HeartbeatRoutes heartbeats,
                      HeartbeatRoutes::parse(NameTarget::kRedis, settings.heartbeat_channel, settings.prefix, channel));
  return std::make_unique<PubsubSink>(std::move(name), std::move(encoder), std::move(channel), std::move(heartbeats),
                                      settings);
}

}  // namespace headgate::sinks
