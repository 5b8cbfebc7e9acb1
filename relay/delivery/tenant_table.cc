#include "relay/delivery/tenant_table.h"

#include <algorithm>

namespace headgate::relay {

TenantNames::Name TenantNames::shared(const std::string& name) {
  MutexLock lock(mutex_);
  const auto found = names_.find(std::string_view(name));
  if (found != names_.end()) return *found;
  return *names_.insert(std::make_shared<const std::string>(name)).first;
}

void TenantNames::forget(const std::string& name) {
  MutexLock lock(mutex_);
  const auto found = names_.find(std::string_view(name));
  // Nobody gets another copy while the lock is held.
  if (found != names_.end() && found->use_count() == 1) names_.erase(found);
}

size_t TenantNames::size() const {
  MutexLock lock(mutex_);
  return names_.size();
}

void TenantTable::reserve(size_t tenants) {
  entries_.reserve(tenants);
  order_.reserve(tenants);
}

size_t TenantTable::lower_bound(std::string_view name) const {
  const auto place = std::lower_bound(order_.begin(), order_.end(), name, [&](uint32_t slot, std::string_view wanted) {
    return *entries_[slot].name < wanted;
  });
  return static_cast<size_t>(place - order_.begin());
}

size_t TenantTable::first_after(std::string_view name) const {
  const size_t place = lower_bound(name);
  return place < size() && *at(place).name == name ? place + 1 : place;
}

size_t TenantTable::place_of(std::string_view name) const {
  const size_t place = lower_bound(name);
  return place < size() && *at(place).name == name ? place : size();
}

const TenantEntry* TenantTable::find(std::string_view name) const {
  const size_t place = place_of(name);
  return place == size() ? nullptr : &at(place);
}

TenantEntry* TenantTable::find(std::string_view name) {
  return const_cast<TenantEntry*>(static_cast<const TenantTable*>(this)->find(name));
}

TenantEntry& TenantTable::find_or_add(const std::string& name) {
  const size_t place = lower_bound(name);
  if (place < size() && *at(place).name == name) return entries_[order_[place]];
  order_.insert(order_.begin() + static_cast<ptrdiff_t>(place), static_cast<uint32_t>(entries_.size()));
  TenantEntry& entry = entries_.emplace_back();
  entry.name = names_->shared(name);
  return entry;
}

void TenantTable::erase(const std::string& name) {
  const size_t place = place_of(name);
  if (place == size()) return;
  const uint32_t slot = order_[place];
  const auto last = static_cast<uint32_t>(entries_.size() - 1);
  if (slot != last) {
    order_[lower_bound(*entries_[last].name)] = slot;
    std::swap(entries_[slot], entries_[last]);
  }
  order_.erase(order_.begin() + static_cast<ptrdiff_t>(place));
  entries_.pop_back();
  names_->forget(name);
}

sinks::Cursor TenantTable::cursor_of(const TenantEntry& entry) const {
  return {entry.snap_token, entry.xid, entry.part, entry.more_parts, entry.sequence, incarnation_of(entry)};
}

void TenantTable::set_cursor(TenantEntry& entry, const sinks::Cursor& cursor) {
  entry.snap_token = cursor.snap_token;
  entry.xid = cursor.xid;
  entry.part = cursor.part;
  entry.more_parts = cursor.more_parts;
  entry.sequence = cursor.sequence;
  set_incarnation(entry, cursor.incarnation);
}

void TenantTable::set_incarnation(TenantEntry& entry, const std::string& incarnation) {
  if (incarnation_of(entry) == incarnation) return;
  // There are as many as histories that this sink has seen: one, or a few after restores.
  const auto known = std::find(incarnations_.begin(), incarnations_.end(), incarnation);
  entry.incarnation = static_cast<uint32_t>(known - incarnations_.begin());
  if (known == incarnations_.end()) incarnations_.push_back(incarnation);
}

}  // namespace headgate::relay
