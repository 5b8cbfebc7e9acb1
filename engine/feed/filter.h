// Which messages belong to a stream: one tenant, some, or all, each from its own start. Not thread-safe.
#pragma once

#include <span>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "engine/feed/start.h"

namespace headgate::engine {

class StreamFilter {
 public:
  static StreamFilter one(std::string tenant, StartPoint start);
  static StreamFilter some();
  // Tenants that are not added start at `others`.
  static StreamFilter all(StartPoint others);

  void add(const std::string& tenant, StartPoint start);
  // Nothing more of this tenant.
  void drop(const std::string& tenant);
  // A removal ahead took the tenant's changes below it along, as far as they were not read before: the rest of them is
  // no history. Until forget_removals().
  void leave_out_changes(const std::string& tenant, uint64_t below) { removals_[tenant] = below; }
  void forget_removals() { removals_.clear(); }
  // The stream has this transaction of the tenant, and all in front of it, before it has all of other tenants.
  void told_ahead(const std::string& tenant, uint64_t xid);
  // It has all of all tenants below `xid`.
  void forget_ahead(uint64_t xid);

  bool wants(const std::string& tenant, uint64_t xid) const;
  // The same for an event that is a transaction's changes.
  bool wants_changes(const std::string& tenant, uint64_t xid) const;
  // True when the stream is of this tenant at all.
  bool covers(const std::string& tenant) const;
  // True when the tenant was added or dropped.
  bool names(const std::string& tenant) const { return starts_.contains(tenant) || dropped_.contains(tenant); }
  // The first xid that can still come of the tenant.
  uint64_t start_of(const std::string& tenant) const;
  // The highest xid in front of which a tenant of the stream skips something.
  uint64_t highest_start() const;
  // The only tenant, or nullptr.
  const std::string* single() const { return all_ || tenants_.size() != 1 ? nullptr : &tenants_.front(); }
  // For HistoryReader::page(); empty for all tenants.
  std::span<const std::string> tenants() const {
    return all_ ? std::span<const std::string>() : std::span<const std::string>(tenants_);
  }
  // A stream of no tenant at all has nothing to read.
  bool empty() const { return !all_ && tenants_.empty(); }

 private:
  bool all_ = false;
  StartPoint others_;
  std::vector<std::string> tenants_;
  std::unordered_map<std::string, StartPoint> starts_;
  std::unordered_set<std::string> dropped_;
  std::unordered_map<std::string, uint64_t> removals_;
  std::unordered_map<std::string, uint64_t> ahead_;  // behind what was told
  uint64_t highest_ahead_ = 0;
};

}  // namespace headgate::engine
