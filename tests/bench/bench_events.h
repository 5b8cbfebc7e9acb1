// Events as a relay makes them of the backlog (backlog.h), from memory, and what is left of them on the wire.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "sinks/event.h"

namespace headgate::bench {

// Round robin over the backlog's tenants, with dense sequences.
std::vector<sinks::Delivery> memory_deliveries(size_t count);

// What a bare client of a server sends for one event.
struct WireEvent {
  std::string tenant;
  std::vector<std::pair<std::string, std::string>> attributes;  // names without a prefix; with "datacontenttype"
  std::string data;
  std::string line;  // structured mode, with the line feed
};
std::vector<WireEvent> wire_events(const std::vector<sinks::Delivery>& deliveries);

}  // namespace headgate::bench
