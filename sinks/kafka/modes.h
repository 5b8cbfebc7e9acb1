// The two ways in which the Kafka sink keeps its promise; kafka_sink.cc chooses by the settings.
#pragma once

#include <memory>
#include <string>

#include "sinks/kafka/producer.h"
#include "sinks/sink.h"

namespace headgate::sinks {

// At least once: an idempotent producer, and the topics' tails are read back where something is in doubt.
std::unique_ptr<Sink> make_idempotent_sink(std::string name, Encoder encoder, EventProducer::Routes routes,
                                           const KafkaSettings& settings);

// Exactly once for readers of committed messages: a batch and the cursors of its tenants are one transaction.
std::unique_ptr<Sink> make_transactional_sink(std::string name, Encoder encoder, EventProducer::Routes routes,
                                              const KafkaSettings& settings);

}  // namespace headgate::sinks
