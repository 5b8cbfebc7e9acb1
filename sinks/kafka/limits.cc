#include "sinks/kafka/limits.h"

#include "sinks/kafka/topic_settings.h"

namespace headgate::sinks {
namespace {

// A broker is named by its number; empty when none is known.
std::string any_broker(rd_kafka_t* client) {
  const rd_kafka_metadata_t* raw = nullptr;
  if (rd_kafka_metadata(client, 0, nullptr, &raw, 200) != RD_KAFKA_RESP_ERR_NO_ERROR) return "";
  const KafkaOwned<const rd_kafka_metadata_t> metadata(raw);
  return raw->broker_cnt > 0 ? std::to_string(raw->brokers[0].id) : "";
}

}  // namespace

size_t record_bytes_max(rd_kafka_t* client, const std::string& topic, const KafkaSettings& settings,
                        std::stop_token stop) {
  Described asked{Described::Kind::kTopic, topic};
  if (topic.empty()) asked = {Described::Kind::kBroker, any_broker(client)};
  if (asked.name.empty()) return 0;
  const auto told = settings_of(client, asked, settings, std::move(stop));
  if (!told.ok()) return 0;
  const auto value = told->find(topic.empty() ? "message.max.bytes" : "max.message.bytes");
  return value == told->end() ? 0 : std::strtoull(value->second.c_str(), nullptr, 10);
}

}  // namespace headgate::sinks
