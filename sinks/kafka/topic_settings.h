// Whether a topic's settings keep what the sink promises. Looked at when it is opened; somebody may want them so, hence
// warnings and no refusals.
#pragma once

#include <map>
#include <stop_token>
#include <string>

#include "sinks/kafka/topics.h"

namespace headgate::sinks {

using TopicSettings = std::map<std::string, std::string>;

enum class TopicUse { kEvents, kCursors };

struct Described {
  enum class Kind { kTopic, kBroker };
  Kind kind = Kind::kTopic;
  std::string name;  // of the topic, or the number of the broker
};
// Asks the broker: the one place where that is done. PERMISSION_DENIED names the right. Blocks for the connect time-out
// at most.
StatusOr<TopicSettings> settings_of(rd_kafka_t* client, const Described& what, const KafkaSettings& settings,
                                    std::stop_token stop);

// Which settings lose records that nobody has read, or acknowledge what one broker alone has, as
// "cleanup.policy=compact, min.insync.replicas=1 of 3 replicas"; empty: none.
std::string losing_settings(const TopicSettings& topic, const TopicFacts& facts, const KafkaSettings& settings,
                            TopicUse use);

// Logs what settings_of() and losing_settings() tell.
void warn_of_topic(rd_kafka_t* client, const std::string& sink, const std::string& topic, const TopicFacts& facts,
                   const KafkaSettings& settings, TopicUse use, std::stop_token stop);

}  // namespace headgate::sinks
