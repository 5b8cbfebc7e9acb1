#include "tests/robustness/kafka_admin.h"

#include <array>
#include <stdexcept>

#include "tests/support/kafka_admin_client.h"

namespace headgate::testing {

namespace {

constexpr int kTimeoutMs = 20'000;

// "" or what the broker said of the first resource.
std::string failure_of(rd_kafka_event_t* event) {
  if (event == nullptr) return "no answer in time";
  if (rd_kafka_event_error(event) != RD_KAFKA_RESP_ERR_NO_ERROR) return rd_kafka_event_error_string(event);
  size_t count = 0;
  const auto* resources = rd_kafka_AlterConfigs_result_resources(rd_kafka_event_AlterConfigs_result(event), &count);
  if (count == 0) return "no result";
  const bool good = rd_kafka_ConfigResource_error(resources[0]) == RD_KAFKA_RESP_ERR_NO_ERROR;
  return good ? "" : rd_kafka_ConfigResource_error_string(resources[0]);
}

}  // namespace

void change_topic(const std::string& brokers, const std::string& topic, const std::string& key,
                  const std::string& value) {
  const auto client = kafka_admin_of(brokers);
  const KafkaKept<rd_kafka_queue_t> queue(rd_kafka_queue_new(client.get()), rd_kafka_queue_destroy);
  rd_kafka_ConfigResource_t* resource = rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, topic.c_str());
  const KafkaKept<rd_kafka_ConfigResource_t> owned(resource, rd_kafka_ConfigResource_destroy);
  rd_kafka_ConfigResource_set_config(resource, key.c_str(), value.c_str());
  rd_kafka_AlterConfigs(client.get(), &resource, 1, nullptr, queue.get());
  const KafkaKept<rd_kafka_event_t> event(rd_kafka_queue_poll(queue.get(), kTimeoutMs), rd_kafka_event_destroy);
  const std::string failure = failure_of(event.get());
  if (!failure.empty()) throw std::runtime_error("cannot change the topic: " + failure);
}

void create_topic(const std::string& brokers, const std::string& topic, int partitions) {
  const auto client = kafka_admin_of(brokers);
  const KafkaKept<rd_kafka_queue_t> queue(rd_kafka_queue_new(client.get()), rd_kafka_queue_destroy);
  std::array<char, 512> error{};
  rd_kafka_NewTopic_t* wanted = rd_kafka_NewTopic_new(topic.c_str(), partitions, 1, error.data(), error.size());
  const KafkaKept<rd_kafka_NewTopic_t> owned(wanted, rd_kafka_NewTopic_destroy);
  rd_kafka_CreateTopics(client.get(), &wanted, 1, nullptr, queue.get());
  const KafkaKept<rd_kafka_event_t> event(rd_kafka_queue_poll(queue.get(), kTimeoutMs), rd_kafka_event_destroy);
  if (event == nullptr || rd_kafka_event_error(event.get()) != RD_KAFKA_RESP_ERR_NO_ERROR) {
    throw std::runtime_error("cannot create the topic " + topic);
  }
}

size_t count_topics(const std::string& brokers, const std::string& start) {
  const auto client = kafka_admin_of(brokers);
  const rd_kafka_metadata_t* raw = nullptr;
  if (rd_kafka_metadata(client.get(), 1, nullptr, &raw, kTimeoutMs) != RD_KAFKA_RESP_ERR_NO_ERROR) {
    throw std::runtime_error("no metadata");
  }
  const KafkaKept<const rd_kafka_metadata_t> metadata(raw, rd_kafka_metadata_destroy);
  size_t count = 0;
  for (int i = 0; i < raw->topic_cnt; ++i) count += std::string(raw->topics[i].topic).rfind(start, 0) == 0 ? 1 : 0;
  return count;
}

}  // namespace headgate::testing
