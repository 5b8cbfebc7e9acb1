#include "engine/feed/filter.h"

#include <algorithm>

namespace headgate::engine {

StreamFilter StreamFilter::one(std::string tenant, StartPoint start) {
  StreamFilter filter;
  filter.add(tenant, std::move(start));
  return filter;
}

StreamFilter StreamFilter::some() { return {}; }

StreamFilter StreamFilter::all(StartPoint others) {
  StreamFilter filter;
  filter.all_ = true;
  filter.others_ = std::move(others);
  return filter;
}

void StreamFilter::add(const std::string& tenant, StartPoint start) {
  if (starts_.insert_or_assign(tenant, std::move(start)).second) tenants_.push_back(tenant);
}

void StreamFilter::drop(const std::string& tenant) {
  std::erase(tenants_, tenant);
  starts_.erase(tenant);
  dropped_.insert(tenant);
}

void StreamFilter::told_ahead(const std::string& tenant, uint64_t xid) {
  ahead_[tenant] = xid + 1;
  highest_ahead_ = std::max(highest_ahead_, xid + 1);
}

void StreamFilter::forget_ahead(uint64_t xid) {
  if (highest_ahead_ == 0 || xid < highest_ahead_) return;
  ahead_.clear();
  highest_ahead_ = 0;
}

bool StreamFilter::wants(const std::string& tenant, uint64_t xid) const {
  if (!ahead_.empty()) {
    const auto told = ahead_.find(tenant);
    if (told != ahead_.end() && xid < told->second) return false;
  }
  if (const auto found = starts_.find(tenant); found != starts_.end()) return found->second.wants(xid);
  return all_ && others_.wants(xid) && !dropped_.contains(tenant);
}

bool StreamFilter::wants_changes(const std::string& tenant, uint64_t xid) const {
  if (!wants(tenant, xid)) return false;
  if (removals_.empty()) return true;
  const auto removal = removals_.find(tenant);
  return removal == removals_.end() || xid >= removal->second;
}

uint64_t StreamFilter::start_of(const std::string& tenant) const {
  const auto found = starts_.find(tenant);
  const uint64_t from = found != starts_.end() ? found->second.from : others_.from;
  const auto told = ahead_.find(tenant);
  return told != ahead_.end() ? std::max(from, told->second) : from;
}

uint64_t StreamFilter::highest_start() const {
  uint64_t highest = std::max(highest_ahead_, all_ ? others_.from_all : 0);
  for (const auto& [tenant, start] : starts_) highest = std::max(highest, start.from_all);
  return highest;
}

bool StreamFilter::covers(const std::string& tenant) const {
  return starts_.contains(tenant) || (all_ && !dropped_.contains(tenant));
}

}  // namespace headgate::engine
