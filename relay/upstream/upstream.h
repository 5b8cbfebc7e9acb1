// The source of changes: a base.v1 engine, ours (one Feed stream for many tenants) or any other (one Watch stream a
// tenant). gRPC lives behind this interface only.
#pragma once

#include <map>
#include <memory>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

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

enum class StartPolicy { kHead, kEarliest };

struct UpstreamRequest {
  TenantSelection tenants;
  std::map<std::string, std::string> tokens;  // tenant -> where to go on
  StartPolicy default_start = StartPolicy::kHead;
  // The position that all tenants without a token have reached; empty: default_start decides. Only a source with one
  // order over all tenants can use it; another falls back to default_start.
  std::string progress_token{};
  std::string incarnation{};  // of the tokens; empty when not known
};

struct TenantFailure {
  std::string tenant;
  std::string reason;  // HISTORY_GONE, UNKNOWN_TOKEN, FUTURE_TOKEN, MALFORMED_TOKEN, OTHER_INCARNATION
  std::string message;
  std::string head_token;     // where the tenant could start now; empty when not known
  std::string start_token{};  // where it was asked to start; filled in by the session, not by the upstream
};

// Called on the upstream's threads, one call at a time.
class UpstreamListener {
 public:
  virtual ~UpstreamListener() = default;
  // The stream stands. Ordered: events of one tenant come in xid order (true for our engine's feed).
  virtual void on_opened(const std::string& incarnation, bool ordered) = 0;
  // Blocks while the consumer has no room: not reading is the back-pressure. False: stop reading.
  virtual bool on_events(std::vector<EventPtr> events) = 0;
  // Everything below this position has been delivered for all tenants of the stream; `snap_token` is a start for any of
  // them. Position 0: the source has no positions, the token holds for tenants that have had no event.
  virtual void on_progress(uint64_t position, const std::string& snap_token) = 0;
  virtual void on_tenant_failed(const TenantFailure& failure) = 0;
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
};

}  // namespace headgate::relay
