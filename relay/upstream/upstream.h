// The source of changes: a base.v1 engine, ours (one Feed stream for many tenants) or any other (one Watch stream a
// tenant). gRPC lives behind this interface only.
#pragma once

#include <map>
#include <memory>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/status.h"
#include "sinks/event.h"

namespace headgate::relay {

using sinks::Event;
using sinks::EventPtr;

// `*` stands for any text, `?` for one byte; linear in both but for the last `*`.
inline bool glob_matches(std::string_view pattern, std::string_view text) {
  size_t p = 0, t = 0, star = std::string_view::npos, after_star = 0;
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      after_star = t;
    } else if (p < pattern.size() && (pattern[p] == '?' || pattern[p] == text[t])) {
      ++p;
      ++t;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      t = ++after_star;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

// Which tenants a relay serves. A pattern is a glob with `*` and `?`.
struct TenantSelection {
  std::vector<std::string> patterns{"*"};

  bool matches(const std::string& tenant) const {
    for (const std::string& pattern : patterns) {
      if (glob_matches(pattern, tenant)) return true;
    }
    return false;
  }
  // True when the patterns are plain names, so that nothing has to be discovered.
  bool exact() const {
    for (const std::string& pattern : patterns) {
      if (pattern.find_first_of("*?") != std::string::npos) return false;
    }
    return true;
  }
};

enum class StartPolicy {
  kHead,
  kEarliest,
  kSnapshot,  // the state of each tenant between marks, then what follows; made by the session, a source starts at head
};

// A transaction told apart from one of a replaced history that got the same xid.
struct Identity {
  uint64_t xid = 0;  // 0: not known, so not compared
  int64_t started_at_us = 0;
  std::string tenant{};

  bool operator==(const Identity&) const = default;
};

// Everything of the stream's tenants below `position` lies before this mark. Position 0: the source has no positions,
// and the token holds for tenants that have had no event.
struct Progress {
  uint64_t position = 0;
  std::string snap_token;
  std::string incarnation;
  Identity newest{};  // the newest transaction of the source in front of the position
  // The last ones that arrived before the mark, those ahead among them; null: as with the mark before. A crash can lose
  // one of them while others stay.
  std::shared_ptr<const std::vector<Identity>> recent{};
  bool restarts = false;  // the first one behind a change of history: it may be lower than those before
  int64_t told_at_us = system_clock().unix_micros();  // when the source said so
};

// Where one tenant goes on.
struct TenantStart {
  std::string snap_token;
  uint64_t last_xid = 0;  // of the last transaction that arrived of it, as Identity
  int64_t last_started_at_us = 0;
  bool quiet = false;  // everything up to the progress has arrived, so it may start at any later shared position
  bool ahead = false;  // its last transaction lies in front of the progress: it says nothing of other tenants
};

struct UpstreamRequest {
  TenantSelection tenants;
  std::map<std::string, TenantStart> starts;
  StartPolicy default_start = StartPolicy::kHead;
  // The position that all tenants without a start have reached; its token empty: default_start decides. Only a source
  // with one order over all tenants can use it; another falls back to default_start.
  Progress progress{};
};

// One page of a tenant's state at a position.
struct SnapshotPage {
  uint64_t position = 0;
  std::string snap_token;
  std::string incarnation;
  std::string changes;       // serialized base.v1.DataChanges of creations; may hold none
  std::string continuation;  // empty: the last page
  Identity newest{};         // of the tenant, in front of the position
  // Rows of the page that are no values, so that `changes` lacks them: how many, and the first ones for people.
  uint64_t unreadable_rows = 0;
  std::vector<std::string> unreadable{};
};

struct TenantFailure {
  std::string tenant;
  std::string reason;  // HISTORY_GONE, HISTORY_REPLACED, UNKNOWN_TOKEN, FUTURE_TOKEN, MALFORMED_TOKEN …
  std::string message;
  std::string head_token;  // where the tenant can go on; empty when not known
  // Filled in by the session, not by the upstream.
  std::string start_token{};  // where it was asked to start
  int64_t told_at_us = 0;     // when it went into the ring
};

// Called on the upstream's threads, one call at a time.
class UpstreamListener {
 public:
  virtual ~UpstreamListener() = default;
  // Before on_opened(), from a source that knows it: no event's changes are larger, in whatever format, but for a
  // single change that came into the database by another way.
  virtual void on_limits(size_t /*changes_bytes_max*/) {}
  // The stream stands. Ordered: events of one tenant come in xid order (true for our engine's feed).
  virtual void on_opened(const std::string& incarnation, bool ordered) = 0;
  // Blocks while the consumer has no room: not reading is the back-pressure. False: stop reading.
  virtual bool on_events(std::vector<EventPtr> events) = 0;
  // Everything below this position has been delivered for all tenants of the stream; its token is a start for any of
  // them.
  virtual void on_progress(const Progress& mark) = 0;
  // Its start cannot be served; nothing of it comes on this stream.
  virtual void on_tenant_failed(const TenantFailure& failure) = 0;
  // Its start is served, but only from head_token on: what was asked for is gone. Before its first event.
  virtual void on_tenant_starts_later(const TenantFailure& failure) = 0;
  // It was deleted, and the source has no event for that. Sources that have one send it by on_events().
  virtual void on_tenant_removed(const std::string& tenant) = 0;
};

// Thread-safe: a sink that fell behind reads through a run() of its own beside the main one.
class Upstream {
 public:
  virtual ~Upstream() = default;
  // Opens and reads until the stream breaks or stop is requested (CANCELLED). Reconnects belong to the caller, except
  // that an implementation with a stream per tenant keeps the others going when one breaks. An implementation may empty
  // what it needs no longer of the request.
  virtual Status run(UpstreamRequest& request, UpstreamListener& listener, std::stop_token stop) = 0;
  // All tenants the source knows; UNIMPLEMENTED when it cannot tell.
  virtual StatusOr<std::vector<std::string>> tenants() = 0;
  // The page behind `continuation`, or the first one when it is empty; `snap_token` empty: at the newest position.
  // OUT_OF_RANGE: that position can be read no more. NOT_FOUND: no such tenant. UNIMPLEMENTED: the source has no
  // snapshots. Blocks for a bounded time.
  virtual StatusOr<SnapshotPage> read_snapshot(const std::string& tenant, const std::string& snap_token,
                                               const std::string& continuation) = 0;
  // What calls and streams that begin from now on prove themselves with; those that stand go on.
  virtual void set_key(const std::string&) {}
};

}  // namespace headgate::relay
