// What the brokers say of the largest record that they take.
#pragma once

#include <stop_token>
#include <string>

#include "sinks/kafka/client.h"

namespace headgate::sinks {

// max.message.bytes of the topic, or, with an empty name, message.max.bytes of a broker, which topics have unless they
// say otherwise. 0 when it is not told: settings may be hidden from us. Blocks for the connect time-out at most.
size_t record_bytes_max(rd_kafka_t* client, const std::string& topic, const KafkaSettings& settings,
                        std::stop_token stop);

}  // namespace headgate::sinks
