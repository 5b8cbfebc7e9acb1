#include "sinks/table.h"

#include <array>
#include <cctype>

#include "sinks/encoding/cloud_event.h"
#include "sinks/encoding/route.h"
#include "sinks/log/log_sinks.h"
#include "sinks/registry/registered_sink.h"
#ifdef HEADGATE_SINK_KAFKA
#include "sinks/kafka/client.h"
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

struct Template {
  const char* key;
  NameTarget target;
  const std::string& text;
  const std::string& prefix;
};
using Templates = std::vector<Template>;

Templates templates_of(const KafkaSettings& s) {
  return {{"topic", NameTarget::kKafka, s.topic, s.prefix}, {"key", NameTarget::kRaw, s.key, s.prefix}};
}
Templates templates_of(const RedisPubsubSettings& s) { return {{"channel", NameTarget::kRedis, s.channel, s.prefix}}; }
Templates templates_of(const JetStreamSettings& s) { return {{"subject", NameTarget::kNats, s.subject, s.prefix}}; }
Templates templates_of(const NatsCoreSettings& s) { return {{"subject", NameTarget::kNats, s.subject, s.prefix}}; }
// The others have none, or know better themselves what theirs mean.
template <typename Other>
Templates templates_of(const Other&) {
  return {};
}

// Faults of the library's options, each of them.
std::vector<SinkFault> option_faults(const KindSettings& kind) {
  std::vector<SinkFault> faults;
#ifdef HEADGATE_SINK_KAFKA
  if (const auto* kafka = std::get_if<KafkaSettings>(&kind); kafka != nullptr) {
    for (auto& [option, text] : kafka_option_faults(*kafka)) faults.push_back({"options." + option, std::move(text)});
  }
#endif
  return faults;
}

// Of how Redis is reached, each of them.
std::vector<SinkFault> connection_faults(const KindSettings& kind) {
  std::vector<SinkFault> faults;
  const auto add = [&](const redis::ClientSettings& connection) {
    for (auto& [key, text] : redis::faults_of(connection)) faults.push_back({std::move(key), std::move(text)});
  };
  if (const auto* streams = std::get_if<RedisStreamsSettings>(&kind); streams != nullptr) add(streams->connection);
  if (const auto* pubsub = std::get_if<RedisPubsubSettings>(&kind); pubsub != nullptr) add(pubsub->connection);
  return faults;
}

// The setting that a maker's message speaks of.
std::string key_in(const std::string& text) {
  constexpr std::array<std::string_view, 23> kKeys = {"tls",
                                                      "tls_ca_file",
                                                      "tls_cert_file",
                                                      "tls_key_file",
                                                      "shards",
                                                      "index",
                                                      "host",
                                                      "user",
                                                      "password",
                                                      "brokers",
                                                      "mode",
                                                      "message_bytes_max",
                                                      "stream",
                                                      "position",
                                                      "subject",
                                                      "create_stream",
                                                      "pending_max",
                                                      "path",
                                                      "rotate_keep",
                                                      "schema_id",
                                                      "cluster",
                                                      "entries_per_script",
                                                      "entries_per_transaction"};
  const auto is_word = [](char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_'; };
  size_t best = text.size();
  std::string_view found;
  for (const std::string_view key : kKeys) {
    for (size_t at = text.find(key); at < best; at = text.find(key, at + 1)) {
      const size_t end = at + key.size();
      if ((at > 0 && is_word(text[at - 1])) || (end < text.size() && is_word(text[end]))) continue;
      best = at;
      found = key;
    }
  }
  return std::string(found);
}

}  // namespace

std::vector<SinkFault> check_sink(const SinkSettings& settings) {
  std::vector<SinkFault> faults = option_faults(settings.kind);
  for (SinkFault& fault : connection_faults(settings.kind)) faults.push_back(std::move(fault));
  if (const auto encoder = Encoder::make(settings.encoding); !encoder.ok()) {
    const std::string text = message_of(encoder.status());
    faults.push_back({key_in(text), text});
  }
  for (const Template& one : std::visit([](const auto& kind) { return templates_of(kind); }, settings.kind)) {
    const auto route = Route::parse(one.target, one.text, one.prefix);
    if (!route.ok()) faults.push_back({one.key, message_of(route.status())});
  }
  if (!faults.empty()) return faults;
  // The rest is found by the start itself, which looks no further than the first fault.
  if (const auto made = make_sink(settings); !made.ok()) {
    std::string text = message_of(made.status());
    const std::string name = fmt::format("sink '{}': ", settings.name);
    if (text.rfind(name, 0) == 0) text.erase(0, name.size());
    faults.push_back({key_in(text), text});
  }
  return faults;
}

const std::vector<KindEntry>& sink_kinds() {
  static const std::vector<KindEntry> kinds = {
      {"stdout", StdoutSettings{}},
      {"file", FileSettings{}},
      {"kafka", KafkaSettings{}},
      {"redis_streams", RedisStreamsSettings{}},
      {"redis_pubsub", RedisPubsubSettings{}},
      {"nats_jetstream", JetStreamSettings{}},
      {"nats_core", NatsCoreSettings{}},
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
  const auto make = [settings](const EncodingSettings& encoding) {
    return std::visit(Maker{settings.name, encoding}, settings.kind);
  };
  if (settings.encoding.registry.url.empty()) return make(settings.encoding);
  auto sink = make_registered_sink(settings.encoding, make);
  if (sink.ok()) return sink;
  return status_of(sink.status().code(), "sink '{}': {}", settings.name, message_of(sink.status()));
}

}  // namespace headgate::sinks
