// Registers the schema of events with a schema registry that speaks Confluent's HTTP API.
#pragma once

#include <cstdint>
#include <stop_token>
#include <string_view>

#include "base/status.h"
#include "sinks/encoding/settings.h"

namespace headgate::sinks {

// The text of proto/headgate/v1/event.proto.
std::string_view event_schema();

// INVALID_ARGUMENT says what cannot work. Does not connect.
Status check_registry_settings(const SchemaRegistrySettings& settings);

// The id of the schema under the subject; registering it again gives the same one. Blocks for two time-outs at most; a
// stop token ends the wait for the answer at once.
// PERMISSION_DENIED: the registry refuses the credentials. INVALID_ARGUMENT: it refuses the schema, as incompatible
// with what the subject has. Else UNAVAILABLE.
StatusOr<uint32_t> register_schema(const SchemaRegistrySettings& settings, std::string_view schema,
                                   std::stop_token stop);

}  // namespace headgate::sinks
