#include <librdkafka/rdkafka.h>

#include <cstring>

#include "ops/demo/subscriber.h"

namespace headgate::demo {
namespace {

using Consumer = std::unique_ptr<rd_kafka_t, decltype(&rd_kafka_destroy)>;

Consumer open(const std::string& brokers, const std::string& topics) {
  rd_kafka_conf_t* settings = rd_kafka_conf_new();
  char error[512];
  const std::pair<const char*, std::string> values[] = {{"bootstrap.servers", brokers},
                                                        {"group.id", "headgate-demo"},
                                                        {"auto.offset.reset", "earliest"},
                                                        {"isolation.level", "read_committed"},
                                                        {"topic.metadata.refresh.interval.ms", "300"},
                                                        {"fetch.wait.max.ms", "20"},
                                                        {"log_level", "0"}};
  for (const auto& [name, value] : values) rd_kafka_conf_set(settings, name, value.c_str(), error, sizeof(error));
  Consumer consumer(rd_kafka_new(RD_KAFKA_CONSUMER, settings, error, sizeof(error)), &rd_kafka_destroy);
  if (consumer == nullptr) {
    rd_kafka_conf_destroy(settings);
    return consumer;
  }
  rd_kafka_poll_set_consumer(consumer.get());
  rd_kafka_topic_partition_list_t* list = rd_kafka_topic_partition_list_new(1);
  rd_kafka_topic_partition_list_add(list, topics.c_str(), RD_KAFKA_PARTITION_UA);
  rd_kafka_subscribe(consumer.get(), list);
  rd_kafka_topic_partition_list_destroy(list);
  return consumer;
}

Envelope envelope_of(const rd_kafka_message_t& message) {
  Envelope envelope;
  envelope.data.assign(static_cast<const char*>(message.payload), message.len);
  rd_kafka_headers_t* headers = nullptr;
  if (rd_kafka_message_headers(&message, &headers) != RD_KAFKA_RESP_ERR_NO_ERROR) return envelope;
  const char* name = nullptr;
  const void* value = nullptr;
  size_t size = 0;
  for (size_t i = 0; rd_kafka_header_get_all(headers, i, &name, &value, &size) == RD_KAFKA_RESP_ERR_NO_ERROR; ++i) {
    const std::string text(static_cast<const char*>(value), size);
    if (std::strcmp(name, "content-type") == 0) {
      envelope.attributes["datacontenttype"] = text;
    } else if (std::strncmp(name, "ce_", 3) == 0) {
      envelope.attributes[name + 3] = text;
    }
  }
  return envelope;
}

}  // namespace

Subscriber subscribe_kafka(const std::string& brokers, const std::string& prefix, Inbox& inbox) {
  return Subscriber([=, &inbox](std::stop_token stop) {
    std::string topics = "^";
    for (const char c : prefix) topics += c == '.' ? "\\." : std::string(1, c);
    const Consumer consumer = open(brokers, topics);
    inbox.subscribed();
    while (consumer != nullptr && !stop.stop_requested()) {
      rd_kafka_message_t* message = rd_kafka_consumer_poll(consumer.get(), 100);
      if (message == nullptr) continue;
      if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR) inbox.take(envelope_of(*message));
      rd_kafka_message_destroy(message);
    }
    if (consumer != nullptr) rd_kafka_consumer_close(consumer.get());
  });
}

}  // namespace headgate::demo
