// A sink whose events carry the id that a schema registry gave.
#pragma once

#include <functional>
#include <memory>

#include "sinks/encoding/settings.h"
#include "sinks/sink.h"

namespace headgate::sinks {

// Makes the real sink with these settings.
using MakeEncoded = std::function<StatusOr<std::unique_ptr<Sink>>(const EncodingSettings&)>;

// open() registers the schema first, once; until that succeeded the sink is not connected. Everything else is the real
// sink's. INVALID_ARGUMENT for settings that cannot work, the real sink's included.
StatusOr<std::unique_ptr<Sink>> make_registered_sink(const EncodingSettings& encoding, MakeEncoded make);

}  // namespace headgate::sinks
