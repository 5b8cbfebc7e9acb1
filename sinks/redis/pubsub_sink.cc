#include <array>

#include "sinks/encoding/cloud_event.h"
#include "sinks/encoding/route.h"
#include "sinks/redis/connection.h"
#include "sinks/redis/redis_sinks.h"

namespace headgate::sinks {
namespace {

constexpr size_t kPushed = 64;  // commands that the server may have while others are still being made

class PubsubSink : public Sink {
 public:
  PubsubSink(std::string name, Encoder encoder, Route channel, RedisPubsubSettings settings)
      : info_{std::move(name), "redis_pubsub", Guarantee::kSignal},
        encoder_(std::move(encoder)),
        channel_(std::move(channel)),
        settings_(std::move(settings)),
        connection_(settings_.connection) {}

  const SinkInfo& info() const override { return info_; }
  Status open(std::stop_token stop) override { return connection_.open(stop); }
  void close() override { connection_.close(); }
  StatusOr<std::map<std::string, Cursor>> recover(const std::map<std::string, Cursor>&, std::stop_token) override {
    return std::map<std::string, Cursor>();
  }

  WriteResult write(const Batch& batch, std::stop_token stop) override {
    if (!connection_.is_open()) return {0, unavailable("redis: not connected")};
    size_t queued = 0;
    Status refused;
    for (const Delivery& delivery : batch.deliveries) {
      refused = publish(delivery);
      if (!refused.ok()) break;
      if (++queued % kPushed == 0) connection_.push();
    }
    if (queued == 0) return {0, refused};
    std::vector<Reply> replies;
    const Status exchanged = connection_.exchange(replies, stop);
    for (size_t i = 0; i < replies.size(); ++i) {
      if (replies[i]->type != REDIS_REPLY_ERROR) continue;
      return {i, status_of_error(std::string_view(replies[i]->str, replies[i]->len))};
    }
    return {replies.size(), exchanged.ok() ? refused : exchanged};
  }

 private:
  Status publish(const Delivery& delivery) {
    HG_ASSIGN_OR_RETURN(const std::string channel, channel_.render_tenant(delivery.event->tenant));
    line_.clear();
    HG_RETURN_IF_ERROR(encoder_.encode_structured(delivery, line_));
    if (line_.size() > settings_.event_bytes_max) {
      return invalid_argument("redis: event {} has {} bytes, event_bytes_max is {}", event_id(delivery), line_.size(),
                              settings_.event_bytes_max);
    }
    connection_.append(std::array<std::string_view, 3>{"PUBLISH", channel, line_});
    return ok_status();
  }

  const SinkInfo info_;
  const Encoder encoder_;
  const Route channel_;
  const RedisPubsubSettings settings_;
  RedisConnection connection_;
  std::string line_;
};

}  // namespace

StatusOr<std::unique_ptr<Sink>> make_redis_pubsub_sink(std::string name, const EncodingSettings& encoding,
                                                       const RedisPubsubSettings& settings) {
  HG_RETURN_IF_ERROR(check_redis_settings(settings.connection));
  HG_ASSIGN_OR_RETURN(Encoder encoder, Encoder::make(encoding));
  HG_ASSIGN_OR_RETURN(Route channel, Route::parse(NameTarget::kRedis, settings.channel, settings.prefix));
  return std::make_unique<PubsubSink>(std::move(name), std::move(encoder), std::move(channel), settings);
}

}  // namespace headgate::sinks
