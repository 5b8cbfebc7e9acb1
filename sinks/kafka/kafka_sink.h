// Kafka sink over librdkafka's idempotent producer: at least once, in order per tenant.
//
// Used by one thread; the library's own threads do the I/O and its callbacks run inside our polls. The stop token is
// looked at every 50 ms.
#pragma once

#include <memory>

#include "sinks/encoding/settings.h"
#include "sinks/kafka/settings.h"
#include "sinks/sink.h"

namespace headgate::sinks {

StatusOr<std::unique_ptr<Sink>> make_kafka_sink(std::string name, const EncodingSettings& encoding,
                                                const KafkaSettings& settings);

}  // namespace headgate::sinks
