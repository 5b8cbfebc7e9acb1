// What an event carries as its data. Internal to this folder.
#pragma once

#include <string>
#include <string_view>

#include "sinks/event.h"

namespace headgate::sinks {

// headgate.v1.Event of an event without changes.
std::string control_payload(const Event& event);

// Byte 0, schema id, message index 0, payload.
std::string confluent_frame(uint32_t schema_id, std::string_view payload);

}  // namespace headgate::sinks
