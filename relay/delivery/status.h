// What /status tells about one sink and its tenants. Plain values.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/refusals.h"
#include "sinks/sink.h"

namespace headgate::relay {

enum class SinkState {
  kStarting,    // opening, or asking the sink for its place
  kLive,        // reads from the ring
  kCatchingUp,  // reads from the source on its own
  kRetrying,    // the sink refuses or is away; deliveries wait
  kBlocked,     // the token store is away for too long; deliveries wait
  kFenced,      // a newer relay has taken over; nothing is written any more
  kStopped,
};
const char* state_word(SinkState state);

struct SinkStatus {
  std::string name;
  std::string kind;
  sinks::Guarantee guarantee = sinks::Guarantee::kAtLeastOnce;
  SinkState state = SinkState::kStarting;
  int64_t since_us = 0;
  std::string last_error;
  int64_t last_error_us = 0;
  // While the sink's server refuses: of which kind that is, as last_error tells it, and since when.
  std::optional<RefusalKind> refusal;
  int64_t refused_since_us = 0;
  // While the token store does not take this sink's cursors: why.
  std::string commit_error;
  size_t bytes_behind = 0;   // published to the ring and not yet read by this sink
  size_t bytes_in_hand = 0;  // read and not yet acknowledged
  size_t uncommitted = 0;    // acknowledged events that the token store does not know yet
  uint64_t delivered = 0;
  uint64_t duplicates = 0;
  double lag_seconds = 0;  // age of the oldest event in hand
  double age_seconds = 0;  // how old is what the sink has: since it last had all that the source had by then
  size_t tenants = 0;
  size_t stopped_tenants = 0;
  std::map<std::string, size_t> stopped_reasons;  // of them, by TenantStatus::state
  // How often the sink was found to take less than the source may send; each is a line in the log.
  size_t limit_warnings = 0;
  size_t max_event_bytes = 0;  // as Sink::max_event_bytes(); 0: no limit known
};

struct TenantStatus {
  std::string tenant;
  std::string sink;
  std::string state;  // "ok", or the reason why it is stopped: HISTORY_GONE, POISON ...
  int64_t since_us = 0;
  std::string snap_token;
  uint64_t xid = 0;
  uint64_t sequence = 0;
  int64_t last_event_us = 0;
  double lag_seconds = 0;
  std::string last_error;
};

// A page of tenants: those that match, in name order.
struct TenantQuery {
  std::string tenant;  // exact; empty: all
  std::string after;   // names behind this one
  size_t limit = 100;
  bool stopped_only = false;
};

}  // namespace headgate::relay
