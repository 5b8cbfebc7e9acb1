#include "sinks/table.h"

#include "sinks/log/log_sinks.h"
#ifdef HEADGATE_SINK_KAFKA
#include "sinks/kafka/kafka_sink.h"
#endif
#ifdef HEADGATE_SINK_NATS
#include "sinks/nats/nats_sinks.h"
#endif
#ifdef HEADGATE_SINK_REDIS
#include "sinks/redis/redis_sinks.h"
#endif

namespace headgate::sinks {
namespace {

#ifdef HEADGATE_SINK_KAFKA
constexpr bool kHasKafka = true;
#else
constexpr bool kHasKafka = false;
#endif
#ifdef HEADGATE_SINK_NATS
constexpr bool kHasNats = true;
#else
constexpr bool kHasNats = false;
#endif
#ifdef HEADGATE_SINK_REDIS
constexpr bool kHasRedis = true;
#else
constexpr bool kHasRedis = false;
#endif

using Made = StatusOr<std::unique_ptr<Sink>>;

// One overload for each kind that is compiled in; the template stands for the others.
struct Maker {
  const std::string& name;
  const EncodingSettings& encoding;

  Made operator()(const StdoutSettings& settings) const { return make_stdout_sink(name, encoding, settings); }
  Made operator()(const FileSettings& settings) const { return make_file_sink(name, encoding, settings); }
#ifdef HEADGATE_SINK_KAFKA
  Made operator()(const KafkaSettings& settings) const { return make_kafka_sink(name, encoding, settings); }
#endif
#ifdef HEADGATE_SINK_REDIS
  Made operator()(const RedisStreamsSettings& settings) const {
    return make_redis_streams_sink(name, encoding, settings);
  }
  Made operator()(const RedisPubsubSettings& settings) const {
    return make_redis_pubsub_sink(name, encoding, settings);
  }
#endif
#ifdef HEADGATE_SINK_NATS
  Made operator()(const JetStreamSettings& settings) const { return make_jetstream_sink(name, encoding, settings); }
  Made operator()(const NatsCoreSettings& settings) const { return make_nats_core_sink(name, encoding, settings); }
#endif
  template <typename Other>
  Made operator()(const Other& settings) const {
    return status_of(StatusCode::kUnimplemented, "sink '{}': this program was built without the kind '{}'", name,
                     kind_of(settings));
  }
};

}  // namespace

const std::vector<KindEntry>& sink_kinds() {
  static const std::vector<KindEntry> kinds = {
      {"stdout", Guarantee::kAtLeastOnce, true, StdoutSettings{}},
      {"file", Guarantee::kAtLeastOnce, true, FileSettings{}},
      {"kafka", Guarantee::kAtLeastOnce, kHasKafka, KafkaSettings{}},
      {"redis_streams", Guarantee::kExactlyOnce, kHasRedis, RedisStreamsSettings{}},
      {"redis_pubsub", Guarantee::kSignal, kHasRedis, RedisPubsubSettings{}},
      {"nats_jetstream", Guarantee::kExactlyOnce, kHasNats, JetStreamSettings{}},
      {"nats_core", Guarantee::kSignal, kHasNats, NatsCoreSettings{}},
  };
  return kinds;
}

const KindEntry* find_kind(std::string_view word) {
  for (const KindEntry& kind : sink_kinds()) {
    if (kind.word == word) return &kind;
  }
  return nullptr;
}

std::string_view kind_of(const KindSettings& settings) { return sink_kinds()[settings.index()].word; }

StatusOr<std::unique_ptr<Sink>> make_sink(const SinkSettings& settings) {
  if (settings.name.empty()) return invalid_argument("a sink needs a name");
  const auto* kafka = std::get_if<KafkaSettings>(&settings.kind);
  if (kafka != nullptr && settings.heartbeat.scope == HeartbeatScope::kSink &&
      kafka->topic.find("{tenant}") != std::string::npos) {
    return invalid_argument("sink '{}': heartbeats of scope sink need one topic for all tenants; use scope tenant",
                            settings.name);
  }
  return std::visit(Maker{settings.name, settings.encoding}, settings.kind);
}

}  // namespace headgate::sinks
