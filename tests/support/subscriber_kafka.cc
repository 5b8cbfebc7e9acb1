#include <librdkafka/rdkafka.h>

#include <unistd.h>
#include <atomic>

#include "tests/support/subscriber_base.h"

namespace headgate::testing {
namespace {

class KafkaSubscriber final : public SubscriberBase {
 public:
  KafkaSubscriber(std::string brokers, std::string topic)
      : SubscriberBase("kafka"), brokers_(std::move(brokers)), topic_(std::move(topic)) {
    start();
  }
  ~KafkaSubscriber() override { stop(); }

 protected:
  void run(std::stop_token stop) override {
    std::string error;
    rd_kafka_t* consumer = connect(error);
    if (consumer == nullptr) return add(std::nullopt, error);
    set_ready();
    while (!stop.stop_requested()) {
      rd_kafka_message_t* message = rd_kafka_consumer_poll(consumer, 100);
      if (message == nullptr) continue;
      // Errors here are about the way (broker away, topic not yet there); the library heals them.
      if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR) take(*message);
      rd_kafka_message_destroy(message);
    }
    rd_kafka_consumer_close(consumer);
    rd_kafka_destroy(consumer);
  }

 private:
  rd_kafka_t* connect(std::string& error) const {
    static std::atomic<int> counter{0};
    const std::string group = "headgate-test-" + std::to_string(::getpid()) + "-" + std::to_string(++counter);
    const std::pair<const char*, std::string> settings[] = {{"bootstrap.servers", brokers_},
                                                            {"group.id", group},
                                                            {"auto.offset.reset", "earliest"},
                                                            {"enable.auto.commit", "false"},
                                                            {"isolation.level", "read_committed"},
                                                            {"topic.metadata.refresh.interval.ms", "300"},
                                                            {"allow.auto.create.topics", "false"},
                                                            {"reconnect.backoff.max.ms", "500"},
                                                            {"fetch.wait.max.ms", "5"},
                                                            {"log_level", "0"},
                                                            {"fetch.error.backoff.ms", "20"}};
    rd_kafka_conf_t* conf = rd_kafka_conf_new();
    char text[256];
    for (const auto& [key, value] : settings) rd_kafka_conf_set(conf, key, value.c_str(), text, sizeof text);
    rd_kafka_t* consumer = rd_kafka_new(RD_KAFKA_CONSUMER, conf, text, sizeof text);
    if (consumer == nullptr) {
      rd_kafka_conf_destroy(conf);
      error = text;
      return nullptr;
    }
    rd_kafka_poll_set_consumer(consumer);
    rd_kafka_topic_partition_list_t* topics = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(topics, topic_.c_str(), RD_KAFKA_PARTITION_UA);
    rd_kafka_subscribe(consumer, topics);
    rd_kafka_topic_partition_list_destroy(topics);
    return consumer;
  }

  void take(const rd_kafka_message_t& message) {
    rd_kafka_headers_t* headers = nullptr;
    rd_kafka_message_headers(&message, &headers);
    const auto get = [&](const std::string& name) -> std::optional<std::string> {
      const std::string header = name == "datacontenttype" ? "content-type" : "ce_" + name;
      const void* value = nullptr;
      size_t size = 0;
      if (headers == nullptr || rd_kafka_header_get_last(headers, header.c_str(), &value, &size) != 0) {
        return std::nullopt;
      }
      return std::string(static_cast<const char*>(value), size);
    };
    std::string error;
    auto event = decode_binary(get, {static_cast<const char*>(message.payload), message.len}, &error);
    add(std::move(event), error + " at offset " + std::to_string(message.offset));
  }

  const std::string brokers_;
  const std::string topic_;
};

}  // namespace

std::unique_ptr<Subscriber> subscribe_kafka(const std::string& brokers, const std::string& topic) {
  return std::make_unique<KafkaSubscriber>(brokers, topic);
}

}  // namespace headgate::testing
