// An event-sourced copy of one tenant, as a subscriber of one sink would keep it, and the rules that its events obey.
// Pure, but for the last function.
#pragma once

#include <deque>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "tests/support/engine_client.h"
#include "tests/support/subscribers.h"

namespace headgate::testing {

class Copy {
 public:
  // What the sink promises. An event that comes again must be the one that came before.
  explicit Copy(bool repeats) : repeats_(repeats) {}

  // "" or the rule that the event breaks: numbers rise by one, but for a GAP that says that the sink lost events; each
  // event names the token of the one before it; what is deleted was there; nothing but pages comes inside a snapshot.
  std::string apply(const Received& event);

  // False behind a GAP, until a snapshot or the tenant's deletion.
  bool certain() const { return certain_; }
  const std::string& last_gap() const { return gap_; }
  bool in_snapshot() const { return in_snapshot_; }
  const std::string& token() const { return token_; }
  uint64_t last_xid() const { return last_xid_; }
  // Relationships as texts.
  const std::set<std::string>& rows() const { return rows_; }
  std::string trail() const;

 private:
  std::string change(const Received& event);

  const bool repeats_;
  uint64_t sequence_ = 0;
  std::string token_;
  std::string last_id_;
  uint64_t last_xid_ = 0;
  std::deque<std::string> trail_;  // the last events, for whoever reads a fault
  std::map<std::string, uint64_t> ids_;
  std::set<std::string> rows_;
  bool certain_ = true;
  bool in_snapshot_ = false;
  std::string gap_;
};

// What a copy holds when a heartbeat says that it has everything in front of the token.
struct Watermark {
  std::string tenant;
  std::string token;
  std::set<std::string> rows;
};

// Those of the last heartbeats of each tenant at which its copy was certain and no further than the heartbeat.
std::vector<Watermark> watermarks(const std::vector<Received>& received, bool repeats, size_t of_each_tenant);
// Compares them with the database as it was there, where that can still be read; counts those into `compared`.
std::string check_watermarks(const std::vector<Watermark>& watermarks, EngineClient& client, int& compared);

// What one sink tells against the database: "" or the first fault, with its tenant.
std::string check_copies(const std::vector<Received>& received, bool repeats, const std::set<std::string>& tenants,
                         EngineClient& client);

// All that a signal promises: numbers rise, and what has a number that was there before is the same event.
std::string check_rising(const std::vector<Received>& received);

}  // namespace headgate::testing
