// What an operator does with a Kafka topic. Throws std::runtime_error.
#pragma once

#include <string>

namespace headgate::testing {

// Sets one configuration entry of an existing topic; all others fall back to the broker's.
void change_topic(const std::string& brokers, const std::string& topic, const std::string& key,
                  const std::string& value);

void create_topic(const std::string& brokers, const std::string& topic, int partitions);

// How many topics begin with `start`.
size_t count_topics(const std::string& brokers, const std::string& start);

}  // namespace headgate::testing
