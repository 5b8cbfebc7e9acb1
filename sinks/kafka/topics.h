// Topics: which there are, what they hold, and making them.
#pragma once

#include <functional>
#include <set>
#include <stop_token>
#include <string>

#include "sinks/encoding/cloud_event.h"
#include "sinks/encoding/route.h"
#include "sinks/kafka/client.h"

namespace headgate::sinks {

// Creates the topic when it is absent. Blocks for the connect time-out at most.
Status create_topic(rd_kafka_t* client, const std::string& topic, const KafkaSettings& settings, std::stop_token stop);

// What metadata tells of a topic.
struct TopicFacts {
  int partitions = 0;
  int replicas = 0;  // the fewest of any partition
  int in_sync = 0;   // the fewest replicas that are in sync now
  int brokers = 0;   // of the cluster
};
// Waits until every partition has a leader, as of a topic that was just created, for the connect time-out at most.
// UNAVAILABLE names a topic that is absent, PERMISSION_DENIED the right that is missing.
StatusOr<TopicFacts> await_topic(rd_kafka_t* client, const std::string& topic, const KafkaSettings& settings,
                                 std::stop_token stop);

// The topics of the cluster that `route` makes of a tenant's name. Blocks for the connect time-out at most.
StatusOr<std::set<std::string>> topics_of(rd_kafka_t* client, const Route& route, const KafkaSettings& settings,
                                          std::stop_token stop);

// Of the records in a cursor topic: the epoch of the owner that wrote it.
inline constexpr char kEpochHeader[] = "ce_epoch";

// The last `recover_records` committed events of every partition, in order within a partition; `get` reads further
// attributes. Topics that are absent are empty. Blocks for recover_timeout at most; DEADLINE_EXCEEDED then.
// Returns the topics that have never had a record.
using EventCallback = std::function<void(const Found& event, const AttributeLookup& get)>;
StatusOr<std::set<std::string>> read_tails(const std::set<std::string>& topics, const KafkaSettings& settings,
                                           const EventCallback& each, std::stop_token stop);

}  // namespace headgate::sinks
