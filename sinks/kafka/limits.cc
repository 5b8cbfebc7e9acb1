#include "sinks/kafka/limits.h"

#include <array>

namespace headgate::sinks {
namespace {

constexpr int kSliceMs = 50;

struct Asked {
  rd_kafka_ResourceType_t type;
  std::string name;
  const char* key;
};

// A broker is named by its number; empty when none is known.
std::string any_broker(rd_kafka_t* client) {
  const rd_kafka_metadata_t* raw = nullptr;
  if (rd_kafka_metadata(client, 0, nullptr, &raw, 200) != RD_KAFKA_RESP_ERR_NO_ERROR) return "";
  const KafkaOwned<const rd_kafka_metadata_t> metadata(raw);
  return raw->broker_cnt > 0 ? std::to_string(raw->brokers[0].id) : "";
}

size_t value_in(rd_kafka_event_t* event, const char* key) {
  if (event == nullptr || rd_kafka_event_error(event) != RD_KAFKA_RESP_ERR_NO_ERROR) return 0;
  size_t resources = 0;
  const auto* result = rd_kafka_event_DescribeConfigs_result(event);
  const rd_kafka_ConfigResource_t** found = rd_kafka_DescribeConfigs_result_resources(result, &resources);
  if (resources == 0) return 0;
  size_t entries = 0;
  const rd_kafka_ConfigEntry_t** configs = rd_kafka_ConfigResource_configs(found[0], &entries);
  for (size_t i = 0; i < entries; ++i) {
    const char* value = rd_kafka_ConfigEntry_value(configs[i]);
    if (std::string_view(rd_kafka_ConfigEntry_name(configs[i])) == key && value != nullptr) {
      return std::strtoull(value, nullptr, 10);
    }
  }
  return 0;
}

size_t ask(rd_kafka_t* client, const Asked& asked, const KafkaSettings& settings, const std::stop_token& stop) {
  rd_kafka_ConfigResource_t* resource = rd_kafka_ConfigResource_new(asked.type, asked.name.c_str());
  if (resource == nullptr) return 0;
  const KafkaOwned<rd_kafka_queue_t> queue(rd_kafka_queue_new(client));
  const KafkaOwned<rd_kafka_AdminOptions_t> options(
      rd_kafka_AdminOptions_new(client, RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS));
  std::array<char, 128> error{};
  const int timeout = static_cast<int>(settings.connect_timeout.count());
  rd_kafka_AdminOptions_set_request_timeout(options.get(), timeout, error.data(), error.size());
  rd_kafka_DescribeConfigs(client, &resource, 1, options.get(), queue.get());
  rd_kafka_ConfigResource_destroy(resource);
  const auto deadline = std::chrono::steady_clock::now() + settings.connect_timeout;
  while (!stop.stop_requested() && std::chrono::steady_clock::now() < deadline) {
    const KafkaOwned<rd_kafka_event_t> event(rd_kafka_queue_poll(queue.get(), kSliceMs));
    if (event != nullptr) return value_in(event.get(), asked.key);
  }
  return 0;
}

}  // namespace

size_t record_bytes_max(rd_kafka_t* client, const std::string& topic, const KafkaSettings& settings,
                        std::stop_token stop) {
  if (!topic.empty()) return ask(client, {RD_KAFKA_RESOURCE_TOPIC, topic, "max.message.bytes"}, settings, stop);
  std::string broker = any_broker(client);
  if (broker.empty()) return 0;
  return ask(client, {RD_KAFKA_RESOURCE_BROKER, std::move(broker), "message.max.bytes"}, settings, stop);
}

}  // namespace headgate::sinks
