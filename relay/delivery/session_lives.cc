// The part of Session that deals with what tenants live through: their snapshots, and their ends.
#include <algorithm>

#include "base/log.h"
#include "relay/delivery/session.h"

namespace headgate::relay {

void Session::resume_snapshots() {
  for (const auto& [name, tenant] : place_.tenants) {
    if (!tenant.snapshot.empty() && settings_.tenants.matches(name)) snapshots_.resume(name, tenant);
  }
}

// The stream stands already: whatever is created from now on comes with it.
void Session::snapshot_new_tenants() {
  const StatusOr<std::set<std::string>> names = tenant_names();
  if (!names.ok()) {
    log_warn("tenant_list_failed", {{"session", name_}, {"error", describe(names.status())}});
    reseed_ = true;
    stream_->request_stop();
    return;
  }
  std::vector<std::string> unknown;
  for (const std::string& name : *names) {
    if (place_.known.count(name) == 0 && place_.tenants.count(name) == 0) unknown.push_back(name);
  }
  snapshot(unknown, ordered_, {});
}

// It begins behind `items`, which are published here.
void Session::snapshot(const std::vector<std::string>& tenants, bool flows, std::vector<HubItem> items) {
  for (const std::string& tenant : tenants) {
    items.emplace_back(std::make_shared<const SnapshotDue>(SnapshotDue{tenant}));
    place_.hold(tenant, place_.token_for(tenant));
  }
  publish(std::move(items));
  for (const std::string& tenant : tenants) snapshots_.begin(tenant, flows);
}

void Session::settle_snapshots() {
  resume_tenants();
  for (Snapshots::Done& done : snapshots_.take_done()) {
    if (!done.refused.ok()) {
      go_on_without_snapshot(done.tenant, done.refused);
    } else if (done.end == nullptr) {
      read_life_of(done.tenant, done.told);
    } else if (!done.missed) {
      end_snapshot(done);
    } else {
      if (reread_.empty()) reread_since_ = parts_.clock.now();
      reread_.push_back(std::move(done));
    }
  }
  {
    MutexLock lock(mutex_);
    status_.snapshots = snapshots_.unfinished() + reread_.size();
  }
  // One new stream serves many.
  constexpr Duration kPatience{2'000};
  if (reread_.empty() || reseed_) return;
  if (snapshots_.unfinished() > 0 && parts_.clock.now() - reread_since_ < kPatience) return;
  for (const Snapshots::Done& done : std::exchange(reread_, {})) end_snapshot(done);
  reseed_ = true;
  stream_->request_stop();
}

// The tenant was deleted while its snapshot was due, and may have a new life by now, of which this stream carries
// nothing. A stream from its old place tells both. A source that cannot is asked once.
void Session::read_life_of(const std::string& tenant, uint64_t told) {
  snapshots_.release(tenant);
  const auto [known, first_time] = not_found_.try_emplace(tenant, 0);
  known->second = std::max(known->second, told);
  if (!first_time) {
    on_tenant_removed(tenant);
    return;
  }
  place_.uncovered.erase(tenant);
  reseed_ = true;
  stream_->request_stop();
}

void Session::end_snapshot(const Snapshots::Done& done) {
  std::vector<HubItem> items;
  items.emplace_back(done.end);
  if (done.gap != nullptr) {
    items.emplace_back(done.gap);
    count_gap();
  }
  publish(std::move(items));
  place_.resume(done.tenant, done.end->snap_token, done.end->xid);
  parts_.hub.raise_floor(done.end->xid);
  snapshots_.release(done.tenant);
  not_found_.erase(done.tenant);
  log_info("snapshot_ends", {{"session", name_}, {"tenant", done.tenant}, {"read_on", done.missed}});
}

// False for what a snapshot holds, or will be read again behind it, and for what is left of a life in front of its end.
bool Session::is_wanted(const Event& event) {
  const bool removed = event.kind == sinks::EventKind::kTenantRemoved;
  if (removed) note_failed(event.tenant, false);
  if (removed && snapshots_.running(event.tenant) && snapshots_.cancel(event.tenant, event.xid)) {
    std::erase_if(reread_, [&](const Snapshots::Done& done) { return done.tenant == event.tenant; });
    return true;
  }
  if (snapshots_.leaves_out(event)) return false;
  if (const auto ended = not_found_.find(event.tenant); ended != not_found_.end()) {
    if (!removed || event.xid <= ended->second) return false;
    not_found_.erase(ended);
  }
  const auto own = place_.tenants.find(event.tenant);
  return !ordered_ || own == place_.tenants.end() || !own->second.pinned || event.xid > own->second.xid ||
         event.part > 0;
}

// Without a place of its own in the order: behind the last event of the tenant that arrived.
void Session::on_tenant_removed(const std::string& tenant) {
  if (!settings_.tenants.matches(tenant)) return;
  uint64_t told = snapshots_.cancel(tenant, UINT64_MAX).value_or(0);
  if (const auto ended = not_found_.extract(tenant)) told = std::max(told, ended.mapped());
  std::erase_if(reread_, [&](const Snapshots::Done& done) { return done.tenant == tenant; });
  constexpr uint32_t kBehindAllParts = 1U << 30;
  auto removed = std::make_shared<Event>();
  removed->kind = sinks::EventKind::kTenantRemoved;
  removed->tenant = tenant;
  const auto known = place_.known.find(tenant);
  removed->xid = std::max(told, known == place_.known.end() ? 0 : known->second.xid);
  removed->part = kBehindAllParts;
  removed->snap_token = place_.token_for(tenant);
  removed->incarnation = incarnation_;
  removed->late = true;
  place_.tenants.erase(tenant);
  place_.uncovered.erase(tenant);
  place_.known.erase(tenant);
  note_failed(tenant, false);
  std::vector<HubItem> items;
  items.emplace_back(EventPtr(std::move(removed)));
  publish(std::move(items));
}

}  // namespace headgate::relay
