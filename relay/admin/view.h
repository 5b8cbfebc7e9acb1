// What the admin pages need to know of the relay. Thread-safe, never blocks on the network.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/status.h"
#include "relay/delivery/session.h"
#include "relay/delivery/status.h"

namespace headgate::relay {

struct RelayReport {
  std::string name;
  std::string version;
  std::string phase;        // "waiting_for_token_store", "running", "stopping"
  std::string phase_error;  // why it is still in this phase
  int64_t since_us = 0;     // of the phase
  int64_t started_us = 0;   // of the process
  int64_t now_us = 0;
  uint64_t epoch = 0;   // of this owner of the token store
  bool fenced = false;  // another relay has taken over
  std::optional<SessionStatus> source;
  size_t hub_bytes = 0;
  size_t hub_bytes_max = 0;
  bool hub_blocked = false;
  size_t source_event_bytes = 0;  // the largest event to be expected
  std::vector<SinkStatus> sinks;
};

class RelayView {
 public:
  virtual ~RelayView() = default;
  virtual RelayReport report() const = 0;
  virtual std::vector<TenantStatus> tenants(const TenantQuery& query) const = 0;
};

// What the admin pages may change. Thread-safe, never blocks on the network.
class RelayControl {
 public:
  virtual ~RelayControl() = default;
  // The tenant, which stands still, goes on from its own cursor. OK: it is asked for, /status shows what comes of it.
  // NOT_FOUND: no such sink, or the tenant stands nowhere; UNAVAILABLE: the relay does not deliver yet, or no more.
  virtual Status resume(const ResumeOrder& order) = 0;
};

}  // namespace headgate::relay
