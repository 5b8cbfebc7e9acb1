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
#include "sinks/heartbeat.h"

namespace headgate::relay {

// The tenant name under which a token store keeps the progress of a sink.
inline constexpr const char* kProgressTenant = "";

// The text of Cursor::snapshot while a snapshot is due and has not begun.
inline constexpr const char* kSnapshotDue = "due";

// What happens to a tenant whose start the source cannot serve any more.
// Subscribers always get a GAP event with the reason first.
enum class GapPolicy {
  kFail,      // it stops, visibly, until somebody decides
  kFromHead,  // it goes on where the source can: at the head, or behind what two histories share
  kSnapshot,  // its state is sent between marks, then it goes on from there
};

// Somebody has decided about a tenant that stands still.
struct ResumeOrder {
  std::string tenant;
  std::string sink{};  // empty: in all sinks in which it stands
  // Instead of the settings' policy, should its start be refused again; once.
  std::optional<GapPolicy> on_gap{};
  int64_t asked_at_us = 0;  // filled in by the worker
};

// Leaves the recent transactions out of a mark that comes too soon behind the last one that had them: they are more
// than all else of it, and a hub holds many marks. What a restart would compare may be a moment old.
void thin_out(Progress& mark, MonotonicTime now, MonotonicTime& told_at);

// Where a session starts, and how far it has come.
struct SourcePlace {
  struct Tenant {
    std::string snap_token;
    uint64_t xid = 0;
    bool pinned = false;
    std::string snapshot{};  // Cursor::snapshot, with the part of the last page
    uint32_t part = 0;
    bool operator==(const Tenant&) const = default;
  };
  // The last event of a tenant that arrived, to be compared when the history may be another one.
  struct Known {
    uint64_t xid = 0;
    int64_t started_at_us = 0;  // 0: not a transaction of the source
  };
  std::map<std::string, Tenant> tenants;     // all that do not stand where the progress stands
  std::map<std::string, Known> known;        // all that ever had an event, also quiet ones
  std::set<std::string> uncovered;           // marks do not cover these
  std::map<std::string, GapPolicy> decided;  // what somebody chose for the next refusal; void once an event comes
  Progress progress;                         // token empty: none

  bool fresh() const { return tenants.empty() && progress.snap_token.empty(); }
  bool same_as(const SourcePlace& other) const;
  // The start of a tenant; empty when nothing is known about it.
  std::string token_for(const std::string& tenant) const;
  TenantStart start_of(const std::string& tenant) const;
  // The starts to ask for when the source's history may be another one: everything known, by its own last event.
  std::map<std::string, TenantStart> all_starts() const;
  // The highest xid that lies before this place for some tenant.
  uint64_t floor() const;

  void passed(const Event& event);
  // From here on marks do not cover the tenant: it stays at `start_token`.
  void hold(const std::string& tenant, const std::string& start_token);
  // It goes on at `token`; the next mark covers it.
  void resume(const std::string& tenant, const std::string& token, uint64_t xid);
  // False when the mark is older than what is known already.
  bool passed(const Progress& mark);
};

class SinkPlace {
 public:
  explicit SinkPlace(const std::map<std::string, Cursor>& stored = {},
                     std::shared_ptr<TenantNames> names = std::make_shared<TenantNames>());

  // The number of the first event of a tenant that has no cursor: 1, unless the sink cannot tell what it was sent
  // before. Then it must lie above whatever that was.
  void set_first_sequence(uint64_t first) { first_sequence_ = first; }
  // The sink was new and began at the source's head: whatever a tenant had before is not in it. Kept over restarts.
  void begin_at_head() { began_at_head_ = true; }
  // The progress holds for every tenant that flows: none has a snapshot before it, or events that no mark covers yet.
  bool is_even() const;
  // Some tenant's last event lies in front of the progress. What the stream told of it up to there may leave out what
  // the source has lost with a removal further on, so another stream does not go on from here. Looks at all tenants.
  bool is_ahead() const;
  bool began_at_head() const { return began_at_head_; }

  // A sink that keeps no place may have been sent more than its cursors say, unless the relay had told before it ended
  // that it had not. Then each tenant goes on with a GAP, under a number from set_first_sequence() on, and snapshots
  // begin anew. `now`: above all numbers so far. Both are kept over restarts.
  bool ended_well() const { return ended_well_; }
  void set_ended_well(bool ended_well);
  void doubt_last_events(uint64_t now);
  bool in_doubt(const std::string& tenant) const;
  // The GAP. REQUIRES: in_doubt().
  EventPtr gap_in_doubt(const std::string& tenant) const;

  bool fresh() const { return tenants_.empty() && progress_.snap_token.empty(); }
  SourcePlace source_place() const;
  std::map<std::string, Cursor> cursors() const;
  const Progress& progress() const { return progress_; }

  struct Recovery {
    int ahead = 0;             // tenants of which the sink holds more than the cursor says
    int behind = 0;            // tenants of which the sink has lost events that were acknowledged
    bool in_snapshot = false;  // of one of them, on either side
  };
  // Takes over what the sink itself holds. A tenant of which it lost events gets a GAP as its next event, and then what
  // was lost, under new numbers: no number is ever given twice.
  Recovery recovered(const std::map<std::string, Cursor>& held);

  // True when the sink has the event, or the batch so far holds it, or it belongs to a snapshot that the sink does not
  // take part in.
  bool has(const Event& event, bool ordered, const std::vector<sinks::Delivery>& batch) const;
  // Appends the event to the batch, with its sequence and the token before it.
  void assign(EventPtr event, std::vector<sinks::Delivery>& batch);
  // The batch is given up or done; what was not acknowledged gets its numbers anew.
  void end_batch(const std::vector<sinks::Delivery>& batch);
  void acknowledged(const sinks::Delivery& delivery);

  // True when the tenant never had an event in this sink, as far as anybody knows.
  bool is_new(const std::string& tenant) const;
  // Of every tenant that has had an event and stands where the progress stands.
  std::vector<sinks::TenantMark> marks() const;
  // The last progress that held for every tenant that flows.
  const Progress& even_progress() const { return even_progress_; }
  // The GAPs that recovered() found necessary, once; to be delivered before anything else.
  std::vector<EventPtr> take_gaps();

  // False when the mark is older than what is known already.
  bool passed(const Progress& mark);
  // From now on the tenant restarts at its own token, or at `start_token` when it never had an event, and marks do not
  // cover it.
  void hold(const std::string& tenant, const std::string& start_token);
  // Marks cover it again.
  void release(const std::string& tenant) { uncovered_.erase(tenant); }
  // A snapshot is due: like hold(), and a restart begins it.
  void snapshot_due(const std::string& tenant);

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
  void gap_behind(TenantEntry& tenant, uint64_t last_sequence);
  // At the tenant's cursor, which may be inside of a snapshot.
  EventPtr gap_at(const TenantEntry& tenant, const char* reason) const;
  Cursor cursor_of(const TenantEntry& tenant) const;
  bool has_of_snapshot(const Event& event, const TenantEntry* tenant, const std::vector<sinks::Delivery>& batch) const;
  // Whether the event is one of the last of a source without order.
  bool is_recent(const Event& event) const;

  TenantTable tenants_;
  // The last identities of each tenant, only kept while the source is not ordered.
  std::unordered_map<std::string, std::vector<std::pair<uint64_t, uint32_t>>> recent_;
  std::set<std::string> dirty_;
  std::set<std::string> pinned_;
  std::set<std::string> uncovered_;
  std::map<std::string, std::string> snapshots_;  // Cursor::snapshot of the few tenants that have one
  std::vector<EventPtr> gaps_;
  Progress progress_;
  Progress even_progress_;
  bool progress_dirty_ = false;
  uint64_t first_sequence_ = 1;
  bool began_at_head_ = false;
  bool ended_well_ = false;
  uint64_t doubt_below_ = 0;  // numbers below this are of a time whose end was not told
};

}  // namespace headgate::relay
