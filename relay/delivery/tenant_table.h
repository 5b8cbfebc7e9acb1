// The tenants of one sink, as small as they can be: there may be very many, most of them quiet.
//
// Names are kept once for all sinks of a relay, incarnations once for all tenants of a sink, and a tenant has no memory
// block of its own but for a long token.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "base/mutex.h"
#include "relay/upstream/upstream.h"

namespace headgate::relay {

// Thread-safe.
class TenantNames {
 public:
  using Name = std::shared_ptr<const std::string>;

  // The copy that everybody shares.
  Name shared(const std::string& name);
  size_t size() const;

 private:
  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view name) const { return std::hash<std::string_view>()(name); }
    size_t operator()(const Name& name) const { return (*this)(*name); }
  };
  struct Equal {
    using is_transparent = void;
    static std::string_view text(std::string_view name) { return name; }
    static std::string_view text(const Name& name) { return *name; }
    template <typename A, typename B>
    bool operator()(const A& a, const B& b) const {
      return text(a) == text(b);
    }
  };

  mutable Mutex mutex_;
  std::unordered_set<Name, Hash, Equal> names_ GUARDED_BY(mutex_);
};

struct TenantEntry {
  TenantNames::Name name;
  std::string snap_token;  // this and the next ones: the cursor
  uint64_t xid = 0;
  uint64_t sequence = 0;
  int64_t started_at_us = 0;  // of the event at the cursor
  uint32_t part = 0;
  uint32_t incarnation = 0;  // see TenantTable
  int32_t newest_in_batch = -1;
  bool more_parts = false;
  bool identified = false;  // xid and started_at_us are of a transaction of the source
  bool pinned = false;
  bool dirty = false;
};

// Cursor::identity as a value; xid 0 for a text that says nothing.
Identity identity_of_text(std::string_view text);
// The identity of a progress row.
// ... and behind it, in records of the same form, the transactions in front of it that may be lost while it is not.
std::string text_of_progress(const Progress& progress);
// The other way round; null without any.
std::shared_ptr<const std::vector<Identity>> recent_of_text(std::string_view text);

// Pointers and references to entries hold until a tenant is added. Not thread-safe; copies share the names.
class TenantTable {
 public:
  explicit TenantTable(std::shared_ptr<TenantNames> names) : names_(std::move(names)) {}

  void reserve(size_t tenants);
  size_t size() const { return order_.size(); }
  bool empty() const { return order_.empty(); }
  // In the order of names.
  const TenantEntry& at(size_t place) const { return entries_[order_[place]]; }
  // size() when there is none of that name.
  size_t place_of(std::string_view name) const;
  // The place of the first whose name is greater.
  size_t first_after(std::string_view name) const;

  TenantEntry* find(std::string_view name);
  const TenantEntry* find(std::string_view name) const;
  TenantEntry& find_or_add(const std::string& name);

  sinks::Cursor cursor_of(const TenantEntry& entry) const;
  void set_cursor(TenantEntry& entry, const sinks::Cursor& cursor);
  const std::string& incarnation_of(const TenantEntry& entry) const { return incarnations_[entry.incarnation]; }
  void set_incarnation(TenantEntry& entry, const std::string& incarnation);

 private:
  // The place of the first whose name is not less.
  size_t lower_bound(std::string_view name) const;

  std::shared_ptr<TenantNames> names_;
  std::vector<TenantEntry> entries_;
  std::vector<uint32_t> order_;  // of entries_, by name
  std::vector<std::string> incarnations_{""};
};

}  // namespace headgate::relay
