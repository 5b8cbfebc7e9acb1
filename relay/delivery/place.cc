#include "relay/delivery/place.h"

#include <algorithm>

#include "base/snap_token.h"

namespace headgate::relay {

namespace {

constexpr size_t kRecentMax = 16;
// What the sequence of a progress row means.
constexpr uint64_t kBeganAtHead = 1;
constexpr uint64_t kEndedWell = 2;
constexpr int kDoubtShift = 2;
// In front of every history; no event carries it.
const std::string kBeginning = encode_legacy_token(0);

bool newer(const Progress& mark, const Progress& known) {
  return mark.restarts || mark.incarnation != known.incarnation || mark.position >= known.position;
}

// Seen, but the sink has none of its events yet.
bool never_acknowledged(const TenantEntry& tenant) {
  return tenant.sequence == 0 && tenant.snap_token.empty() && !tenant.pinned;
}

bool is_of_snapshot(sinks::EventKind kind) {
  return kind == sinks::EventKind::kSnapshotBegin || kind == sinks::EventKind::kSnapshotPage ||
         kind == sinks::EventKind::kSnapshotEnd;
}

void take(const Progress& mark, Progress& progress) {
  std::shared_ptr<const std::vector<Identity>> recent =
      mark.recent != nullptr ? mark.recent : std::move(progress.recent);
  progress = mark;
  progress.recent = std::move(recent);
}

bool at_or_before(const Event& event, uint64_t xid, uint32_t part) {
  return std::pair(event.xid, event.part) <= std::pair(xid, part);
}

}  // namespace

void thin_out(Progress& mark, MonotonicTime now, MonotonicTime& told_at) {
  constexpr Duration kApart{1'000};
  if (!mark.restarts && now - told_at < kApart) {
    mark.recent = nullptr;
  } else {
    told_at = now;
  }
}

bool SourcePlace::same_as(const SourcePlace& other) const {
  return progress.position == other.progress.position && progress.snap_token == other.progress.snap_token &&
         progress.incarnation == other.progress.incarnation && tenants == other.tenants;
}

std::string SourcePlace::token_for(const std::string& tenant) const { return start_of(tenant).snap_token; }

TenantStart SourcePlace::start_of(const std::string& name) const {
  const auto own = tenants.find(name);
  const bool quiet = own == tenants.end() || (!own->second.pinned && own->second.xid < progress.position);
  TenantStart start{quiet ? progress.snap_token : own->second.snap_token, 0, 0, quiet};
  const auto found = known.find(name);
  if (found != known.end() && found->second.started_at_us != 0) {
    start.last_xid = found->second.xid;
    start.last_started_at_us = found->second.started_at_us;
  }
  start.ahead = !quiet && start.last_xid >= progress.position;
  return start;
}

std::map<std::string, TenantStart> SourcePlace::all_starts() const {
  std::map<std::string, TenantStart> all;
  for (const auto& [name, last] : known) {
    TenantStart start = start_of(name);
    // The position itself is in doubt, so a quiet tenant stands behind its last event; and what cannot be compared is
    // told as well: it only holds where the histories are known to be one.
    if (start.quiet) start.snap_token = encode_legacy_token(last.xid);
    start.last_xid = last.xid;
    start.last_started_at_us = last.started_at_us;
    all.emplace_hint(all.end(), name, std::move(start));
  }
  for (const auto& [name, tenant] : tenants) {
    if (!tenant.snap_token.empty() && all.count(name) == 0) all[name] = start_of(name);
  }
  return all;
}

uint64_t SourcePlace::floor() const {
  uint64_t highest = progress.position == 0 ? 0 : progress.position - 1;
  for (const auto& [name, tenant] : tenants) highest = std::max(highest, tenant.xid);
  return highest;
}

void SourcePlace::passed(const Event& event) {
  // The token of an incomplete transaction is the one before it, which is known already.
  if (event.more_parts) return;
  if (!decided.empty()) decided.erase(event.tenant);
  Tenant& tenant = tenants[event.tenant];
  tenant.snap_token = event.snap_token;
  tenant.xid = event.xid;
  known[event.tenant] = {event.xid, event.started_at_us};
}

void SourcePlace::hold(const std::string& name, const std::string& start_token) {
  Tenant& tenant = tenants[name];
  tenant.snap_token = start_token;
  tenant.pinned = true;
  uncovered.insert(name);
}

void SourcePlace::resume(const std::string& name, const std::string& token, uint64_t xid) {
  tenants[name] = {token, xid, true};
  known[name] = {xid, 0};
  uncovered.erase(name);
}

bool SourcePlace::passed(const Progress& mark) {
  if (!newer(mark, progress)) return false;
  take(mark, progress);
  if (mark.position == 0) return true;
  // Quiet tenants need no entry of their own.
  std::erase_if(tenants, [&](const auto& entry) {
    return entry.second.xid < mark.position && (uncovered.empty() || uncovered.count(entry.first) == 0);
  });
  return true;
}

SinkPlace::SinkPlace(const std::map<std::string, Cursor>& stored, std::shared_ptr<TenantNames> names)
    : tenants_(std::move(names)) {
  tenants_.reserve(stored.size());
  for (const auto& [name, cursor] : stored) {
    if (name == kProgressTenant) {
      progress_ = {cursor.xid, cursor.snap_token, cursor.incarnation, identity_of_text(cursor.identity),
                   recent_of_text(cursor.identity)};
      began_at_head_ = (cursor.sequence & kBeganAtHead) != 0;
      ended_well_ = (cursor.sequence & kEndedWell) != 0;
      doubt_below_ = cursor.sequence >> kDoubtShift;
      continue;
    }
    TenantEntry& tenant = tenants_.find_or_add(name);
    tenants_.set_cursor(tenant, cursor);
    if (cursor.more_parts || !cursor.snapshot.empty()) pin(tenant);
    if (cursor.snapshot.empty()) continue;
    snapshots_[name] = cursor.snapshot;
    uncovered_.insert(name);
  }
}

SourcePlace SinkPlace::source_place() const {
  SourcePlace place;
  place.progress = progress_;
  place.uncovered = uncovered_;
  for (size_t i = 0; i < tenants_.size(); ++i) {
    const TenantEntry& tenant = tenants_.at(i);
    if (never_acknowledged(tenant)) continue;
    if (tenant.sequence > 0) place.known[*tenant.name] = {tenant.xid, tenant.identified ? tenant.started_at_us : 0};
    const bool own = tenant.pinned || tenant.more_parts;
    if (!own && tenant.xid < progress_.position) continue;
    SourcePlace::Tenant& start = place.tenants[*tenant.name];
    start = {tenant.snap_token, tenant.xid, own};
    const auto snapshot = snapshots_.find(*tenant.name);
    if (snapshot == snapshots_.end()) continue;
    start.snapshot = snapshot->second;
    start.part = tenant.part;
  }
  return place;
}

Cursor SinkPlace::cursor_of(const TenantEntry& tenant) const {
  Cursor cursor = tenants_.cursor_of(tenant);
  if (const auto snapshot = snapshots_.find(*tenant.name); snapshot != snapshots_.end()) {
    cursor.snapshot = snapshot->second;
  }
  return cursor;
}

std::map<std::string, Cursor> SinkPlace::cursors() const {
  std::map<std::string, Cursor> all;
  for (size_t i = 0; i < tenants_.size(); ++i) {
    const TenantEntry& tenant = tenants_.at(i);
    if (!never_acknowledged(tenant)) all.emplace_hint(all.end(), *tenant.name, cursor_of(tenant));
  }
  return all;
}

SinkPlace::Recovery SinkPlace::recovered(const std::map<std::string, Cursor>& held) {
  Recovery recovery;
  for (const auto& [name, cursor] : held) {
    if (name == kProgressTenant) continue;
    const TenantEntry* found = tenants_.find(name);
    const uint64_t known = found == nullptr ? 0 : found->sequence;
    if (cursor.sequence == known) continue;
    const bool behind = cursor.sequence < known;
    ++(behind ? recovery.behind : recovery.ahead);
    recovery.in_snapshot |= !cursor.snapshot.empty() || snapshots_.count(name) != 0;
    TenantEntry& tenant = tenants_.find_or_add(name);
    tenants_.set_cursor(tenant, cursor);
    if (cursor.sequence == 0) tenant.snap_token = kBeginning;
    snapshots_.erase(name);
    uncovered_.erase(name);
    if (!cursor.snapshot.empty()) {
      // Readers give pages up at a GAP.
      snapshots_[name] = behind ? kSnapshotDue : cursor.snapshot;
      uncovered_.insert(name);
    }
    if (behind) gap_behind(tenant, known);
    recent_.erase(name);
    pin(tenant);
    touch(tenant);
  }
  return recovery;
}

void SinkPlace::set_ended_well(bool ended_well) {
  if (ended_well_ == ended_well) return;
  ended_well_ = ended_well;
  progress_dirty_ |= !progress_.snap_token.empty();
}

void SinkPlace::doubt_last_events(uint64_t now) {
  doubt_below_ = now;
  progress_dirty_ |= !progress_.snap_token.empty();
  for (auto& [name, snapshot] : snapshots_) snapshot = kSnapshotDue;
}

bool SinkPlace::in_doubt(const std::string& name) const {
  const TenantEntry* tenant = tenants_.find(name);
  return tenant != nullptr && tenant->sequence != 0 && tenant->sequence < doubt_below_ && tenant->newest_in_batch < 0;
}

EventPtr SinkPlace::gap_in_doubt(const std::string& name) const {
  return gap_at(*tenants_.find(name), "RELAY_INTERRUPTED");
}

void SinkPlace::gap_behind(TenantEntry& tenant, uint64_t last_sequence) {
  gaps_.push_back(gap_at(tenant, "SINK_LOST_EVENTS"));
  tenant.sequence = last_sequence;
}

EventPtr SinkPlace::gap_at(const TenantEntry& tenant, const char* reason) const {
  auto gap = std::make_shared<Event>();
  gap->kind = sinks::EventKind::kGap;
  gap->tenant = *tenant.name;
  gap->xid = tenant.xid;
  gap->part = tenant.part;
  gap->more_parts = tenant.more_parts;
  gap->snap_token = tenant.snap_token;
  gap->incarnation = tenants_.incarnation_of(tenant);
  if (const auto snapshot = snapshots_.find(*tenant.name); snapshot != snapshots_.end()) {
    gap->snapshot = snapshot->second;
  }
  gap->reason = reason;
  return gap;
}

bool SinkPlace::is_even() const {
  return snapshots_.empty() && std::all_of(pinned_.begin(), pinned_.end(),
                                           [&](const std::string& name) { return uncovered_.count(name) != 0; });
}

bool SinkPlace::is_ahead() const {
  for (size_t i = 0; i < tenants_.size(); ++i) {
    const TenantEntry& tenant = tenants_.at(i);
    if (tenant.xid >= progress_.position && tenants_.incarnation_of(tenant) == progress_.incarnation) return true;
  }
  return false;
}

std::vector<sinks::TenantMark> SinkPlace::marks() const {
  std::vector<sinks::TenantMark> marks;
  for (size_t i = 0; i < tenants_.size(); ++i) {
    const TenantEntry& tenant = tenants_.at(i);
    const bool behind = tenant.pinned || uncovered_.count(*tenant.name) != 0;
    if (tenant.sequence > 0 && !behind) marks.push_back({*tenant.name, tenant.sequence, tenant.snap_token});
  }
  return marks;
}

std::vector<EventPtr> SinkPlace::take_gaps() { return std::exchange(gaps_, {}); }

bool SinkPlace::is_new(const std::string& name) const {
  const TenantEntry* tenant = tenants_.find(name);
  return tenant == nullptr || (tenant->sequence == 0 && tenant->newest_in_batch < 0 && !tenant->pinned);
}

bool SinkPlace::is_recent(const Event& event) const {
  const auto found = recent_.find(event.tenant);
  return found != recent_.end() &&
         std::find(found->second.begin(), found->second.end(), std::pair(event.xid, event.part)) != found->second.end();
}

bool SinkPlace::has(const Event& event, bool ordered, const std::vector<sinks::Delivery>& batch) const {
  const TenantEntry* tenant = tenants_.find(event.tenant);
  if (is_of_snapshot(event.kind)) return has_of_snapshot(event, tenant, batch);
  if (tenant == nullptr) return false;
  if (event.kind == sinks::EventKind::kGap && !event.in_place) return false;
  if (ordered && !event.incarnation.empty()) {
    if (tenant->newest_in_batch >= 0) {
      const Event& newest = *batch[tenant->newest_in_batch].event;
      if (newest.incarnation == event.incarnation) return at_or_before(event, newest.xid, newest.part);
      return false;
    }
    return tenants_.incarnation_of(*tenant) == event.incarnation && at_or_before(event, tenant->xid, tenant->part);
  }
  if (is_recent(event)) return true;
  return tenant->sequence > 0 && tenant->snap_token == event.snap_token &&
         std::pair(event.xid, event.part) == std::pair(tenant->xid, tenant->part);
}

// Pages of one snapshot have the xid in front of its position, and parts that rise by one from the begin mark on.
bool SinkPlace::has_of_snapshot(const Event& event, const TenantEntry* tenant,
                                const std::vector<sinks::Delivery>& batch) const {
  bool inside = false;
  std::pair<uint64_t, uint32_t> at{0, 0};
  if (tenant != nullptr && tenant->newest_in_batch >= 0) {
    const Event& newest = *batch[tenant->newest_in_batch].event;
    inside = !newest.snapshot.empty();
    at = {newest.xid, newest.part};
  } else if (tenant != nullptr) {
    const auto snapshot = snapshots_.find(event.tenant);
    inside = snapshot != snapshots_.end() && snapshot->second != kSnapshotDue;
    at = {tenant->xid, tenant->part};
  }
  if (event.kind == sinks::EventKind::kSnapshotBegin) return inside && at.first == event.xid;
  return !inside || at.first != event.xid || at.second + 1 != event.part;
}

void SinkPlace::assign(EventPtr event, std::vector<sinks::Delivery>& batch) {
  TenantEntry& tenant = tenants_.find_or_add(event->tenant);
  sinks::Delivery delivery;
  if (tenant.newest_in_batch >= 0) {
    const sinks::Delivery& before = batch[tenant.newest_in_batch];
    delivery.sequence = before.sequence + 1;
    delivery.previous_token = before.event->snap_token;
  } else {
    const bool anew = tenant.sequence == 0 || tenant.sequence < doubt_below_;
    delivery.sequence = anew ? std::max(first_sequence_, tenant.sequence + 1) : tenant.sequence + 1;
    // Nothing is there before the GAP of a sink that has lost all, and before a first event; a start is no event.
    if (tenant.sequence != 0 && event->snap_token != kBeginning) delivery.previous_token = tenant.snap_token;
  }
  delivery.event = std::move(event);
  tenant.newest_in_batch = static_cast<int32_t>(batch.size());
  batch.push_back(std::move(delivery));
}

void SinkPlace::end_batch(const std::vector<sinks::Delivery>& batch) {
  for (const sinks::Delivery& delivery : batch) {
    TenantEntry* tenant = tenants_.find(delivery.event->tenant);
    if (tenant != nullptr) tenant->newest_in_batch = -1;
  }
}

void SinkPlace::acknowledged(const sinks::Delivery& delivery) {
  const Event& event = *delivery.event;
  TenantEntry& tenant = tenants_.find_or_add(event.tenant);
  // A control event without a token says nothing about where to go on.
  if (!event.snap_token.empty()) {
    tenant.snap_token = event.snap_token;
    tenant.xid = event.xid;
    tenant.part = event.part;
    tenant.more_parts = event.more_parts;
  }
  tenant.sequence = delivery.sequence;
  tenant.started_at_us = event.started_at_us;
  tenants_.set_incarnation(tenant, event.incarnation);
  if (event.incarnation.empty()) {
    auto& recent = recent_[event.tenant];
    if (recent.size() == kRecentMax) recent.erase(recent.begin());
    recent.emplace_back(event.xid, event.part);
  }
  tenant.identified = sinks::is_of_history(event.kind) && !event.more_parts && event.started_at_us != 0;
  switch (event.kind) {
    case sinks::EventKind::kSnapshotBegin:
    case sinks::EventKind::kSnapshotPage:
      snapshots_[event.tenant] = event.snapshot;
      uncovered_.insert(event.tenant);
      pin(tenant);
      break;
    case sinks::EventKind::kSnapshotEnd:
    case sinks::EventKind::kGap:
      pin(tenant);
      if (!event.snapshot.empty()) {  // in place of a page that the sink does not take
        snapshots_[event.tenant] = event.snapshot;
        break;
      }
      snapshots_.erase(event.tenant);
      uncovered_.erase(event.tenant);
      break;
    case sinks::EventKind::kTenantRemoved:
      snapshots_.erase(event.tenant);
      uncovered_.erase(event.tenant);
      break;
    default: break;
  }
  touch(tenant);
}

bool SinkPlace::passed(const Progress& mark) {
  if (!newer(mark, progress_)) return false;
  if (mark.position != progress_.position || mark.snap_token != progress_.snap_token) {
    take(mark, progress_);
    progress_dirty_ = true;
  }
  for (auto name = pinned_.begin(); name != pinned_.end();) {
    TenantEntry& tenant = tenants_.find_or_add(*name);
    if (uncovered_.count(*name) != 0) {
      ++name;
      continue;
    }
    tenant.pinned = false;
    touch(tenant);
    name = pinned_.erase(name);
  }
  if (is_even()) even_progress_ = progress_;
  return true;
}

void SinkPlace::hold(const std::string& name, const std::string& start_token) {
  TenantEntry& tenant = tenants_.find_or_add(name);
  const bool never_had_one = tenant.sequence == 0;
  const bool passed_by = tenants_.incarnation_of(tenant) == progress_.incarnation && tenant.xid < progress_.position;
  if (!tenant.pinned && (never_had_one || passed_by)) {
    // It stands where the progress stood; its own token, if any, may be too old by now.
    tenant.snap_token = start_token.empty() ? progress_.snap_token : start_token;
    tenants_.set_incarnation(tenant, progress_.incarnation);
  }
  pin(tenant);
  uncovered_.insert(name);
  touch(tenant);
}

// It needs no start of its own, so its token stays that of its last event, which the next one names.
void SinkPlace::snapshot_due(const std::string& name) {
  TenantEntry& tenant = tenants_.find_or_add(name);
  pin(tenant);
  uncovered_.insert(name);
  snapshots_[name] = kSnapshotDue;
  touch(tenant);
}

void SinkPlace::pin(TenantEntry& tenant) {
  tenant.pinned = true;
  pinned_.insert(*tenant.name);
}

std::vector<CursorUpdate> SinkPlace::changes() const {
  std::vector<CursorUpdate> updates;
  updates.reserve(dirty_.size() + 1);
  for (const std::string& name : dirty_) {
    const TenantEntry& tenant = *tenants_.find(name);
    updates.push_back({name, cursor_of(tenant)});
    updates.back().cursor.more_parts |= tenant.pinned;
  }
  if (progress_dirty_) {
    updates.push_back(
        {kProgressTenant,
         {progress_.snap_token, progress_.position, 0, false,
          (began_at_head_ ? kBeganAtHead : 0) | (ended_well_ ? kEndedWell : 0) | doubt_below_ << kDoubtShift,
          progress_.incarnation, text_of_progress(progress_)}});
  }
  return updates;
}

std::vector<CursorUpdate> SinkPlace::take_changes() {
  std::vector<CursorUpdate> updates = changes();
  for (const std::string& name : dirty_) tenants_.find(name)->dirty = false;
  dirty_.clear();
  progress_dirty_ = false;
  return updates;
}

void SinkPlace::put_back(const std::vector<CursorUpdate>& updates) {
  for (const CursorUpdate& update : updates) {
    if (update.tenant == kProgressTenant) {
      progress_dirty_ = true;
    } else if (TenantEntry* tenant = tenants_.find(update.tenant); tenant != nullptr) {
      touch(*tenant);
    }
  }
}

void SinkPlace::touch(TenantEntry& tenant) {
  if (tenant.dirty) return;
  tenant.dirty = true;
  dirty_.insert(*tenant.name);
}

}  // namespace headgate::relay
