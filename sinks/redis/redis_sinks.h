// Redis sinks: streams (durable, exactly once while Redis keeps its data) and pub/sub (signal only).
//
// Both are used by one thread. No wait is longer than the settings' time-outs; the stop token is looked at every 50 ms.
#pragma once

#include <memory>

#include "sinks/encoding/settings.h"
#include "sinks/redis/settings.h"
#include "sinks/sink.h"

namespace headgate::sinks {

StatusOr<std::unique_ptr<Sink>> make_redis_streams_sink(std::string name, const EncodingSettings& encoding,
                                                        const RedisStreamsSettings& settings);
StatusOr<std::unique_ptr<Sink>> make_redis_pubsub_sink(std::string name, const EncodingSettings& encoding,
                                                       const RedisPubsubSettings& settings);

}  // namespace headgate::sinks
