#include "relay/delivery/place.h"

#include <algorithm>

#include "base/snap_token.h"

namespace headgate::relay {

namespace {

constexpr size_t kRecentMax = 16;
// In front of every history; no event carries it.
const std::string kBeginning = encode_legacy_token(0);

bool newer(const Progress& mark, const Progress& known) {
  return mark.incarnation != known.incarnation || mark.position >= known.position;
}

// Seen, but the sink has none of its events yet.
bool never_acknowledged(const SinkPlace::Tenant& tenant) {
  return tenant.cursor.sequence == 0 && tenant.cursor.snap_token.empty() && !tenant.pinned;
}

bool at_or_before(const Event& event, uint64_t xid, uint32_t part) {
  return std::pair(event.xid, event.part) <= std::pair(xid, part);
}

}  // namespace

bool SourcePlace::same_as(const SourcePlace& other) const {
  return progress.position == other.progress.position && progress.snap_token == other.progress.snap_token &&
         progress.incarnation == other.progress.incarnation && tenants == other.tenants;
}

std::string SourcePlace::token_for(const std::string& tenant) const {
  const auto found = tenants.find(tenant);
  if (found == tenants.end()) return progress.snap_token;
  const bool passed_by = !found->second.pinned && found->second.xid < progress.position;
  return passed_by ? progress.snap_token : found->second.snap_token;
}

uint64_t SourcePlace::floor() const {
  uint64_t highest = progress.position == 0 ? 0 : progress.position - 1;
  for (const auto& [name, tenant] : tenants) highest = std::max(highest, tenant.xid);
  return highest;
}

void SourcePlace::passed(const Event& event) {
  // The token of an incomplete transaction is the one before it, which is known already.
  if (event.more_parts) return;
  const auto [entry, is_new] = tenants.try_emplace(event.tenant);
  if (is_new) known.insert(event.tenant);
  Tenant& tenant = entry->second;
  tenant.snap_token = event.snap_token;
  tenant.xid = event.xid;
}

void SourcePlace::fail(const std::string& name, const std::string& start_token) {
  Tenant& tenant = tenants[name];
  tenant.snap_token = start_token;
  tenant.pinned = true;
  failed.insert(name);
}

bool SourcePlace::passed(const Progress& mark) {
  if (!newer(mark, progress)) return false;
  progress = mark;
  if (mark.position == 0) return true;
  // Quiet tenants need no entry of their own.
  std::erase_if(tenants, [&](const auto& entry) {
    return entry.second.xid < mark.position && (failed.empty() || failed.count(entry.first) == 0);
  });
  return true;
}

SinkPlace::SinkPlace(const std::map<std::string, Cursor>& stored) {
  for (const auto& [name, cursor] : stored) {
    if (name == kProgressTenant) {
      progress_ = {cursor.xid, cursor.snap_token, cursor.incarnation};
      continue;
    }
    Tenant& tenant = tenants_[name];
    tenant.cursor = cursor;
    tenant.pinned = cursor.more_parts;
    if (tenant.pinned) pinned_.insert(name);
  }
}

SourcePlace SinkPlace::source_place() const {
  SourcePlace place;
  place.progress = progress_;
  for (const auto& [name, tenant] : tenants_) {
    if (never_acknowledged(tenant)) continue;
    place.known.insert(name);
    const bool differs = tenant.cursor.incarnation != progress_.incarnation;
    const bool own = tenant.pinned || tenant.cursor.more_parts || differs;
    if (!own && tenant.cursor.xid < progress_.position) continue;
    const bool other_history = differs && !progress_.incarnation.empty() && !tenant.cursor.incarnation.empty();
    place.tenants[name] = {tenant.cursor.snap_token, tenant.cursor.xid, own, other_history};
  }
  return place;
}

std::map<std::string, Cursor> SinkPlace::cursors() const {
  std::map<std::string, Cursor> all;
  for (const auto& [name, tenant] : tenants_) {
    if (!never_acknowledged(tenant)) all[name] = tenant.cursor;
  }
  return all;
}

SinkPlace::Recovery SinkPlace::recovered(const std::map<std::string, Cursor>& held) {
  Recovery recovery;
  for (const auto& [name, cursor] : held) {
    if (name == kProgressTenant) continue;
    const auto found = tenants_.find(name);
    const uint64_t known = found == tenants_.end() ? 0 : found->second.cursor.sequence;
    if (cursor.sequence == known) continue;
    ++(cursor.sequence > known ? recovery.ahead : recovery.behind);
    Tenant& tenant = tenants_[name];
    tenant.cursor = cursor;
    if (cursor.sequence == 0) tenant.cursor.snap_token = kBeginning;
    tenant.recent.clear();
    tenant.pinned = true;
    pinned_.insert(name);
    touch(name, tenant);
  }
  return recovery;
}

bool SinkPlace::has(const Event& event, bool ordered, const std::vector<sinks::Delivery>& batch) const {
  const auto found = tenants_.find(event.tenant);
  if (found == tenants_.end()) return false;
  const Tenant& tenant = found->second;
  const Cursor& cursor = tenant.cursor;
  if (ordered && !event.incarnation.empty()) {
    if (tenant.newest_in_batch >= 0) {
      const Event& newest = *batch[tenant.newest_in_batch].event;
      if (newest.incarnation == event.incarnation) return at_or_before(event, newest.xid, newest.part);
      return false;
    }
    return cursor.incarnation == event.incarnation && at_or_before(event, cursor.xid, cursor.part);
  }
  const std::pair identity(event.xid, event.part);
  if (std::find(tenant.recent.begin(), tenant.recent.end(), identity) != tenant.recent.end()) return true;
  return cursor.sequence > 0 && cursor.snap_token == event.snap_token && identity == std::pair(cursor.xid, cursor.part);
}

void SinkPlace::assign(EventPtr event, std::vector<sinks::Delivery>& batch) {
  Tenant& tenant = tenants_[event->tenant];
  sinks::Delivery delivery;
  if (tenant.newest_in_batch >= 0) {
    const sinks::Delivery& before = batch[tenant.newest_in_batch];
    delivery.sequence = before.sequence + 1;
    delivery.previous_token = before.event->snap_token;
  } else {
    delivery.sequence = tenant.cursor.sequence + 1;
    if (tenant.cursor.snap_token != kBeginning) delivery.previous_token = tenant.cursor.snap_token;
  }
  delivery.event = std::move(event);
  tenant.newest_in_batch = static_cast<int32_t>(batch.size());
  batch.push_back(std::move(delivery));
}

void SinkPlace::end_batch(const std::vector<sinks::Delivery>& batch) {
  for (const sinks::Delivery& delivery : batch) {
    const auto found = tenants_.find(delivery.event->tenant);
    if (found != tenants_.end()) found->second.newest_in_batch = -1;
  }
}

void SinkPlace::acknowledged(const sinks::Delivery& delivery) {
  const Event& event = *delivery.event;
  Tenant& tenant = tenants_[event.tenant];
  // Part by part, because assigning to a text keeps its memory.
  Cursor& cursor = tenant.cursor;
  cursor.snap_token = event.snap_token;
  cursor.xid = event.xid;
  cursor.part = event.part;
  cursor.more_parts = event.more_parts;
  cursor.sequence = delivery.sequence;
  cursor.incarnation = event.incarnation;
  tenant.started_at_us = event.started_at_us;
  if (event.incarnation.empty()) {
    if (tenant.recent.size() == kRecentMax) tenant.recent.erase(tenant.recent.begin());
    tenant.recent.emplace_back(event.xid, event.part);
  }
  if (event.kind == sinks::EventKind::kGap) {
    tenant.pinned = true;
    pinned_.insert(event.tenant);
  }
  touch(event.tenant, tenant);
}

bool SinkPlace::passed(const Progress& mark) {
  if (!newer(mark, progress_)) return false;
  if (mark.position == progress_.position && mark.snap_token == progress_.snap_token) return true;
  progress_ = mark;
  progress_dirty_ = true;
  for (auto name = pinned_.begin(); name != pinned_.end();) {
    Tenant& tenant = tenants_[*name];
    if (failed_.count(*name) != 0 || tenant.cursor.incarnation != mark.incarnation) {
      ++name;
      continue;
    }
    tenant.pinned = false;
    touch(*name, tenant);
    name = pinned_.erase(name);
  }
  return true;
}

void SinkPlace::pin(const std::string& name, const std::string& start_token, bool failed) {
  Tenant& tenant = tenants_[name];
  Cursor& cursor = tenant.cursor;
  const bool never_had_one = cursor.sequence == 0;
  const bool passed_by = cursor.incarnation == progress_.incarnation && cursor.xid < progress_.position;
  if (!tenant.pinned && (never_had_one || passed_by)) {
    // It stands where the progress stood; its own token, if any, may be too old by now.
    cursor.snap_token = start_token.empty() ? progress_.snap_token : start_token;
    cursor.incarnation = progress_.incarnation;
  }
  tenant.pinned = true;
  pinned_.insert(name);
  if (failed) failed_.insert(name);
  touch(name, tenant);
}

void SinkPlace::remove(const std::string& name) {
  tenants_.erase(name);
  dirty_.erase(name);
  pinned_.erase(name);
  failed_.erase(name);
}

std::vector<CursorUpdate> SinkPlace::changes() const {
  std::vector<CursorUpdate> updates;
  updates.reserve(dirty_.size() + 1);
  for (const std::string& name : dirty_) {
    const Tenant& tenant = tenants_.at(name);
    updates.push_back({name, tenant.cursor});
    updates.back().cursor.more_parts |= tenant.pinned;
  }
  if (progress_dirty_) {
    updates.push_back(
        {kProgressTenant, {progress_.snap_token, progress_.position, 0, false, 0, progress_.incarnation}});
  }
  return updates;
}

std::vector<CursorUpdate> SinkPlace::take_changes() {
  std::vector<CursorUpdate> updates = changes();
  for (const std::string& name : dirty_) tenants_.at(name).dirty = false;
  dirty_.clear();
  progress_dirty_ = false;
  return updates;
}

void SinkPlace::put_back(const std::vector<CursorUpdate>& updates) {
  for (const CursorUpdate& update : updates) {
    if (update.tenant == kProgressTenant) {
      progress_dirty_ = true;
    } else if (const auto tenant = tenants_.find(update.tenant); tenant != tenants_.end()) {
      touch(tenant->first, tenant->second);
    }
  }
}

void SinkPlace::touch(const std::string& name, Tenant& tenant) {
  if (tenant.dirty) return;
  tenant.dirty = true;
  dirty_.insert(name);
}

}  // namespace headgate::relay
