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
bool never_acknowledged(const TenantEntry& tenant) {
  return tenant.sequence == 0 && tenant.snap_token.empty() && !tenant.pinned;
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

SinkPlace::SinkPlace(const std::map<std::string, Cursor>& stored, std::shared_ptr<TenantNames> names)
    : tenants_(std::move(names)) {
  tenants_.reserve(stored.size());
  for (const auto& [name, cursor] : stored) {
    if (name == kProgressTenant) {
      progress_ = {cursor.xid, cursor.snap_token, cursor.incarnation};
      continue;
    }
    TenantEntry& tenant = tenants_.find_or_add(name);
    tenants_.set_cursor(tenant, cursor);
    if (cursor.more_parts) pin(tenant);
  }
}

SourcePlace SinkPlace::source_place() const {
  SourcePlace place;
  place.progress = progress_;
  for (size_t i = 0; i < tenants_.size(); ++i) {
    const TenantEntry& tenant = tenants_.at(i);
    if (never_acknowledged(tenant)) continue;
    place.known.insert(*tenant.name);
    const std::string& incarnation = tenants_.incarnation_of(tenant);
    const bool differs = incarnation != progress_.incarnation;
    const bool own = tenant.pinned || tenant.more_parts || differs;
    if (!own && tenant.xid < progress_.position) continue;
    const bool other_history = differs && !progress_.incarnation.empty() && !incarnation.empty();
    place.tenants[*tenant.name] = {tenant.snap_token, tenant.xid, own, other_history};
  }
  return place;
}

std::map<std::string, Cursor> SinkPlace::cursors() const {
  std::map<std::string, Cursor> all;
  for (size_t i = 0; i < tenants_.size(); ++i) {
    const TenantEntry& tenant = tenants_.at(i);
    if (!never_acknowledged(tenant)) all.emplace_hint(all.end(), *tenant.name, tenants_.cursor_of(tenant));
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
    ++(cursor.sequence > known ? recovery.ahead : recovery.behind);
    TenantEntry& tenant = tenants_.find_or_add(name);
    tenants_.set_cursor(tenant, cursor);
    if (cursor.sequence == 0) tenant.snap_token = kBeginning;
    recent_.erase(name);
    pin(tenant);
    touch(tenant);
  }
  return recovery;
}

bool SinkPlace::is_recent(const Event& event) const {
  const auto found = recent_.find(event.tenant);
  return found != recent_.end() &&
         std::find(found->second.begin(), found->second.end(), std::pair(event.xid, event.part)) != found->second.end();
}

bool SinkPlace::has(const Event& event, bool ordered, const std::vector<sinks::Delivery>& batch) const {
  const TenantEntry* tenant = tenants_.find(event.tenant);
  if (tenant == nullptr) return false;
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

void SinkPlace::assign(EventPtr event, std::vector<sinks::Delivery>& batch) {
  TenantEntry& tenant = tenants_.find_or_add(event->tenant);
  sinks::Delivery delivery;
  if (tenant.newest_in_batch >= 0) {
    const sinks::Delivery& before = batch[tenant.newest_in_batch];
    delivery.sequence = before.sequence + 1;
    delivery.previous_token = before.event->snap_token;
  } else {
    delivery.sequence = tenant.sequence + 1;
    if (tenant.snap_token != kBeginning) delivery.previous_token = tenant.snap_token;
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
  tenant.snap_token = event.snap_token;
  tenant.xid = event.xid;
  tenant.part = event.part;
  tenant.more_parts = event.more_parts;
  tenant.sequence = delivery.sequence;
  tenant.started_at_us = event.started_at_us;
  tenants_.set_incarnation(tenant, event.incarnation);
  if (event.incarnation.empty()) {
    auto& recent = recent_[event.tenant];
    if (recent.size() == kRecentMax) recent.erase(recent.begin());
    recent.emplace_back(event.xid, event.part);
  }
  if (event.kind == sinks::EventKind::kGap) pin(tenant);
  touch(tenant);
}

bool SinkPlace::passed(const Progress& mark) {
  if (!newer(mark, progress_)) return false;
  if (mark.position == progress_.position && mark.snap_token == progress_.snap_token) return true;
  progress_ = mark;
  progress_dirty_ = true;
  for (auto name = pinned_.begin(); name != pinned_.end();) {
    TenantEntry& tenant = tenants_.find_or_add(*name);
    if (failed_.count(*name) != 0 || tenants_.incarnation_of(tenant) != mark.incarnation) {
      ++name;
      continue;
    }
    tenant.pinned = false;
    touch(tenant);
    name = pinned_.erase(name);
  }
  return true;
}

void SinkPlace::pin(const std::string& name, const std::string& start_token, bool failed) {
  TenantEntry& tenant = tenants_.find_or_add(name);
  const bool never_had_one = tenant.sequence == 0;
  const bool passed_by = tenants_.incarnation_of(tenant) == progress_.incarnation && tenant.xid < progress_.position;
  if (!tenant.pinned && (never_had_one || passed_by)) {
    // It stands where the progress stood; its own token, if any, may be too old by now.
    tenant.snap_token = start_token.empty() ? progress_.snap_token : start_token;
    tenants_.set_incarnation(tenant, progress_.incarnation);
  }
  pin(tenant);
  if (failed) failed_.insert(name);
  touch(tenant);
}

void SinkPlace::pin(TenantEntry& tenant) {
  tenant.pinned = true;
  pinned_.insert(*tenant.name);
}

void SinkPlace::remove(const std::string& name) {
  tenants_.erase(name);
  recent_.erase(name);
  dirty_.erase(name);
  pinned_.erase(name);
  failed_.erase(name);
}

std::vector<CursorUpdate> SinkPlace::changes() const {
  std::vector<CursorUpdate> updates;
  updates.reserve(dirty_.size() + 1);
  for (const std::string& name : dirty_) {
    const TenantEntry& tenant = *tenants_.find(name);
    updates.push_back({name, tenants_.cursor_of(tenant)});
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
