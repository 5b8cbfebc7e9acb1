// Reading back what a topic holds, and creating topics.
#pragma once

#include <functional>
#include <set>
#include <stop_token>
#include <string>

#include "sinks/encoding/cloud_event.h"
#include "sinks/kafka/client.h"

namespace headgate::sinks {

// Creates the topic when it is absent. Blocks for the connect time-out at most.
Status create_topic(rd_kafka_t* client, const std::string& topic, const KafkaSettings& settings, std::stop_token stop);

// Of the records in a cursor topic: the epoch of the owner that wrote it.
inline constexpr char kEpochHeader[] = "ce_epoch";

// The last `recover_records` committed events of every partition, in order within a partition; `get` reads further
// attributes. Topics that are absent are empty. Blocks for recover_timeout at most; DEADLINE_EXCEEDED then.
using EventCallback = std::function<void(const Found& event, const AttributeLookup& get)>;
Status read_tails(const std::set<std::string>& topics, const KafkaSettings& settings, const EventCallback& each,
                  std::stop_token stop);

}  // namespace headgate::sinks
