// A bare client of a Kafka broker, for what administrators do in tests. Header only.
#pragma once

#include <librdkafka/rdkafka.h>

#include <array>
#include <memory>
#include <stdexcept>
#include <string>

namespace headgate::testing {

template <typename T>
using KafkaKept = std::unique_ptr<T, void (*)(T*)>;

// Throws std::runtime_error when librdkafka does not take the settings; connects in the background.
inline KafkaKept<rd_kafka_t> kafka_admin_of(const std::string& brokers) {
  std::array<char, 512> error{};
  rd_kafka_conf_t* conf = rd_kafka_conf_new();
  rd_kafka_conf_set(conf, "bootstrap.servers", brokers.c_str(), error.data(), error.size());
  KafkaKept<rd_kafka_t> client(rd_kafka_new(RD_KAFKA_PRODUCER, conf, error.data(), error.size()), rd_kafka_destroy);
  if (client == nullptr) throw std::runtime_error(error.data());
  return client;
}

}  // namespace headgate::testing
