// Settings of the Kafka sink.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "base/clock.h"

namespace headgate::sinks {

struct KafkaSettings {
  std::string brokers = "127.0.0.1:9092";  // bootstrap.servers
  std::string prefix = "headgate";
  std::string topic = "{prefix}.permission-changes";  // template
  std::string key = "{tenant}";                       // template; decides the partition, and so the order
  std::string mode = "idempotent";                    // or "transactional"
  std::string client_id;                              // empty: "headgate-relay.<name of the sink>"
  std::string compression = "none";                   // gzip, snappy, lz4, zstd
  int linger_ms = 2;
  size_t inflight_bytes_max = 32 << 20;  // handed to the library and not yet acknowledged
  size_t message_bytes_max = 1'000'000;  // one event; not above the topic's max.message.bytes
  Duration write_timeout{30'000};        // of one write(); unacknowledged events are then taken back
  Duration connect_timeout{5'000};
  bool create_topics = false;
  int partitions = 12;  // of topics that are created
  int replication_factor = 1;
  std::map<std::string, std::string> topic_config;  // of topics that are created, e.g. retention.ms
  Duration retention_min{24 * 3'600'000};           // a topic that keeps events for less is warned about; 0: never
  size_t recover_records = 20'000;                  // read back from the end of every partition; idempotent only
  Duration recover_timeout{20'000};
  // Of mode transactional. Whoever uses the same id takes the place of who used it before. Empty: from prefix and name.
  std::string transactional_id;
  std::string cursor_topic;
  // Passed to librdkafka as they are: security.protocol, sasl.*, ssl.*, client.rack ... What the sink's promise rests
  // on (acks, enable.idempotence, partitioner ...) cannot be set here.
  std::map<std::string, std::string> options;
};

}  // namespace headgate::sinks
