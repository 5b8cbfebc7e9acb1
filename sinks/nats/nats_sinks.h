// NATS sinks: JetStream (durable, exactly once in the stream) and core (signal only).
//
// Both are used by one thread; callbacks of the library's threads only note results. Connecting blocks for the connect
// time-out at most, everything else looks at the stop token every 50 ms.
#pragma once

#include <memory>

#include "sinks/encoding/settings.h"
#include "sinks/nats/settings.h"
#include "sinks/sink.h"

namespace headgate::sinks {

StatusOr<std::unique_ptr<Sink>> make_jetstream_sink(std::string name, const EncodingSettings& encoding,
                                                    const JetStreamSettings& settings);
StatusOr<std::unique_ptr<Sink>> make_nats_core_sink(std::string name, const EncodingSettings& encoding,
                                                    const NatsCoreSettings& settings);

}  // namespace headgate::sinks
