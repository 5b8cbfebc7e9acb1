// Where a reader of the source is, and where one sink is. Pure values: no threads, no waiting.
//
// Two kinds of place carry a restart. A tenant's cursor is its last acknowledged event. The progress of a stream is one
// position that all its tenants have reached; it serves the many tenants that are quiet, and keeps their start from
// growing older than the source's history. A tenant whose events did not flow while the progress rose (it failed, or it
// was rewound) is pinned: it restarts at its own token until a later mark covers it.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "relay/delivery/tenant_table.h"
#include "relay/hub/hub.h"
#include "relay/tokens/token_store.h"

namespace headgate::relay {

// The tenant name under which a token store keeps the progress of a sink.
inline constexpr const char* kProgressTenant = "";

// Where a session starts, and how far it has come.
struct SourcePlace {
  struct Tenant {
    std::string snap_token;
    uint64_t xid = 0;
    bool pinned = false;
    bool other_history = false;  // its token is of another incarnation than the progress: useless now
    bool operator==(const Tenant&) const = default;
  };
  std::map<std::string, Tenant> tenants;
  std::set<std::string> known;   // all that ever had an event, also quiet ones; gets a GAP when the history changes
  std::set<std::string> failed;  // marks do not cover these
  Progress progress;             // token empty: none

  bool fresh() const { return tenants.empty() && progress.snap_token.empty(); }
  bool same_as(const SourcePlace& other) const;
  // The start of a tenant; empty when nothing is known about it.
  std::string token_for(const std::string& tenant) const;
  // The highest xid that lies before this place for some tenant.
  uint64_t floor() const;

  void passed(const Event& event);
  // The tenant's events do not flow; it stays at `start_token`.
  void fail(const std::string& tenant, const std::string& start_token);
  // False when the mark is older than what is known already.
  bool passed(const Progress& mark);
};

class SinkPlace {
 public:
  explicit SinkPlace(const std::map<std::string, Cursor>& stored = {},
                     std::shared_ptr<TenantNames> names = std::make_shared<TenantNames>());

  bool fresh() const { return tenants_.empty() && progress_.snap_token.empty(); }
  SourcePlace source_place() const;
  std::map<std::string, Cursor> cursors() const;
  const Progress& progress() const { return progress_; }

  struct Recovery {
    int ahead = 0;   // tenants of which the sink holds more than the cursor says
    int behind = 0;  // tenants of which the sink has lost events that were acknowledged
  };
  // Takes over what the sink itself holds.
  Recovery recovered(const std::map<std::string, Cursor>& held);

  // True when the sink has the event, or the batch so far holds it.
  bool has(const Event& event, bool ordered, const std::vector<sinks::Delivery>& batch) const;
  // Appends the event to the batch, with its sequence and the token before it.
  void assign(EventPtr event, std::vector<sinks::Delivery>& batch);
  // The batch is given up or done; what was not acknowledged gets its numbers anew.
  void end_batch(const std::vector<sinks::Delivery>& batch);
  void acknowledged(const sinks::Delivery& delivery);

  // False when the mark is older than what is known already.
  bool passed(const Progress& mark);
  // From now on the tenant restarts at its own token, or at `start_token` when it never had an event.
  void pin(const std::string& tenant, const std::string& start_token, bool failed);
  void unfail(const std::string& tenant) { failed_.erase(tenant); }
  void remove(const std::string& tenant);

  // Cursors that changed and that nobody has taken yet.
  std::vector<CursorUpdate> changes() const;
  // The same, for somebody who commits them.
  std::vector<CursorUpdate> take_changes();
  // What was taken could not be committed: it has changed again, to whatever it is now.
  void put_back(const std::vector<CursorUpdate>& updates);
  bool events_changed() const { return !dirty_.empty(); }
  bool progress_changed() const { return progress_dirty_; }

  const TenantTable& tenants() const { return tenants_; }

 private:
  void pin(TenantEntry& tenant);
  void touch(TenantEntry& tenant);
  // Whether the event is one of the last of a source without order.
  bool is_recent(const Event& event) const;

  TenantTable tenants_;
  // The last identities of each tenant, only kept while the source is not ordered.
  std::unordered_map<std::string, std::vector<std::pair<uint64_t, uint32_t>>> recent_;
  std::set<std::string> dirty_;
  std::set<std::string> pinned_;
  std::set<std::string> failed_;
  Progress progress_;
  bool progress_dirty_ = false;
};

}  // namespace headgate::relay
