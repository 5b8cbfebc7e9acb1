#include "relay/delivery/tenant_table.h"

#include <algorithm>
#include <charconv>

namespace headgate::relay {

TenantNames::Name TenantNames::shared(const std::string& name) {
  MutexLock lock(mutex_);
  const auto found = names_.find(std::string_view(name));
  if (found != names_.end()) return *found;
  return *names_.insert(std::make_shared<const std::string>(name)).first;
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

sinks::Cursor TenantTable::cursor_of(const TenantEntry& entry) const {
  sinks::Cursor cursor{entry.snap_token, entry.xid,      entry.part,
                       entry.more_parts, entry.sequence, incarnation_of(entry)};
  if (entry.identified) cursor.identity = sinks::identity_text(entry.xid, entry.started_at_us);
  return cursor;
}

namespace {

// Between the records of a progress row's identity.
constexpr char kNextRecord = '\x1e';

Identity read_identity(std::string_view text) {
  Identity identity;
  const auto number = [&](auto& value) {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc()) return false;
    text.remove_prefix(static_cast<size_t>(end - text.data()));
    return true;
  };
  if (!number(identity.xid) || text.empty() || text[0] != '/') return {};
  text.remove_prefix(1);
  if (!number(identity.started_at_us)) return {};
  if (!text.empty() && text[0] == '/') identity.tenant = text.substr(1);
  return identity;
}

std::string text_of(const Identity& identity) {
  return sinks::identity_text(identity.xid, identity.started_at_us) + "/" + identity.tenant;
}

}  // namespace

Identity identity_of_text(std::string_view text) { return read_identity(text.substr(0, text.find(kNextRecord))); }

std::string text_of_progress(const Progress& progress) {
  if (progress.newest.xid == 0) return "";
  std::string text = text_of(progress.newest);
  if (progress.recent == nullptr || text.find(kNextRecord) != std::string::npos) return text;
  for (const Identity& identity : *progress.recent) {
    // No engine gives a tenant such a name.
    if (identity.tenant.find(kNextRecord) != std::string::npos) continue;
    text += kNextRecord;
    text += text_of(identity);
  }
  return text;
}

std::shared_ptr<const std::vector<Identity>> recent_of_text(std::string_view text) {
  auto recent = std::make_shared<std::vector<Identity>>();
  for (size_t at = text.find(kNextRecord); at != std::string_view::npos; at = text.find(kNextRecord)) {
    text.remove_prefix(at + 1);
    Identity identity = read_identity(text.substr(0, text.find(kNextRecord)));
    if (identity.xid != 0) recent->push_back(std::move(identity));
  }
  if (recent->empty()) return nullptr;
  return recent;
}

void TenantTable::set_cursor(TenantEntry& entry, const sinks::Cursor& cursor) {
  entry.snap_token = cursor.snap_token;
  entry.xid = cursor.xid;
  entry.part = cursor.part;
  entry.more_parts = cursor.more_parts;
  entry.sequence = cursor.sequence;
  const Identity last = identity_of_text(cursor.identity);
  entry.identified = last.xid != 0 && last.xid == cursor.xid;
  entry.started_at_us = last.started_at_us;
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
