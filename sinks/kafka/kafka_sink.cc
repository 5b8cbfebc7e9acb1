#include "sinks/kafka/kafka_sink.h"

#include "sinks/kafka/modes.h"

namespace headgate::sinks {

StatusOr<std::unique_ptr<Sink>> make_kafka_sink(std::string name, const EncodingSettings& encoding,
                                                const KafkaSettings& given) {
  KafkaSettings settings = given;
  const std::string scope = fmt::format("{}.{}", settings.prefix, encode_name(NameTarget::kKafka, name));
  if (settings.transactional_id.empty()) settings.transactional_id = scope;
  if (settings.cursor_topic.empty()) settings.cursor_topic = scope + ".cursors";
  if (settings.client_id.empty()) settings.client_id = "headgate-relay." + name;
  const auto named = [&](const Status& status) {
    return status.ok() ? status : status_of(status.code(), "sink '{}': {}", name, message_of(status));
  };
  HG_RETURN_IF_ERROR(named(check_kafka_settings(settings)));
  HG_ASSIGN_OR_RETURN(Encoder encoder, Encoder::make(encoding));
  HG_ASSIGN_OR_RETURN(Route topic, Route::parse(NameTarget::kKafka, settings.topic, settings.prefix));
  HG_ASSIGN_OR_RETURN(Route key, Route::parse(NameTarget::kRaw, settings.key, settings.prefix));
  // Finds out about unknown options now, not at the first connect.
  HG_RETURN_IF_ERROR(named(make_producer(settings, nullptr, nullptr).status()));
  const auto make = settings.mode == kTransactional ? &make_transactional_sink : &make_idempotent_sink;
  return make(std::move(name), std::move(encoder), {std::move(topic), std::move(key)}, settings);
}

}  // namespace headgate::sinks
