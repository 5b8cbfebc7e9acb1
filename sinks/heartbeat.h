// What a sink publishes so that its subscribers can tell quiet from dead: "everything below this position has been
// published here before". Not numbered, never a sink's place, and harmless when lost or repeated.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/clock.h"
#include "sinks/event.h"

namespace headgate::sinks {

enum class HeartbeatScope {
  kOff,
  kSink,    // one for all tenants; on Kafka one in each partition
  kTenant,  // one for each tenant
};

struct HeartbeatSettings {
  HeartbeatScope scope = HeartbeatScope::kOff;
  Duration interval{30'000};
};

// The last event of a tenant that the sink has acknowledged.
struct TenantMark {
  std::string tenant;
  uint64_t sequence = 0;
  std::string snap_token;
};

struct Heartbeat {
  uint64_t position = 0;   // every transaction with a lower xid has been written
  std::string snap_token;  // the position as a token, good for any tenant
  std::string incarnation;
  int64_t now_us = 0;                   // microseconds since the epoch, our clock
  std::span<const TenantMark> tenants;  // of scope kTenant; empty: scope kSink
};

// As events: one for each tenant, or a single one without tenant and sequence. The sequence is that of the tenant's
// last event, and so is previous_token.
std::vector<Delivery> heartbeat_deliveries(const Heartbeat& heartbeat);

}  // namespace headgate::sinks
