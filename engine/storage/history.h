// What the feed asks of the database: the horizon, and transactions in xid order. See ops/decisions for the reasoning.
//
// All calls block on one connection of their own and are not thread-safe; the feed thread owns one reader, and every
// stream that catches up borrows another. UNAVAILABLE when the database is away.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"
#include "base/v1/base.pb.h"

namespace headgate::engine {

// One committed engine transaction. Changes: deletes before creates, tuples before attributes, then by row id.
struct HistoryTransaction {
  uint64_t xid = 0;
  std::string tenant;
  int64_t started_at_us = 0;
  std::vector<base::v1::DataChange> changes;
};

// Half-open range of xids.
struct XidRange {
  uint64_t from = 0;
  uint64_t to = 0;
};

struct HistoryPage {
  std::vector<HistoryTransaction> transactions;  // ascending by xid
  uint64_t next = 0;                             // everything below has been returned; equals range.to when complete
};

// What is known of one tenant's past.
struct TenantHistory {
  uint64_t oldest_xid = 0;     // smallest transactions row, 0 when there is none
  uint64_t newest_xid = 0;     // largest
  uint64_t floor = 0;          // history below this xid was collected (by us, or by Permify's collector as far as visible)
  bool has_xid = false;        // the asked xid is a transactions row of this tenant
  bool xid_elsewhere = false;  // it is a row of another tenant
};

class HistoryReader {
 public:
  virtual ~HistoryReader() = default;
  // Identity of the database's history: system identifier and timeline, "7301…/1". The feed compares it on every
  // reconnect.
  virtual StatusOr<std::string> incarnation() = 0;
  // The xid below which every engine transaction has ended. Never lower than the last answer of this reader.
  virtual StatusOr<uint64_t> horizon() = 0;
  // Transactions of all tenants (empty `tenants`) or of the named ones within `range`; at most about `changes_max`
  // changes, but always at least one transaction when there is one.
  virtual StatusOr<HistoryPage> page(XidRange range, std::span<const std::string> tenants, size_t changes_max) = 0;
  // `xid` 0 asks nothing about an xid.
  virtual StatusOr<TenantHistory> tenant(const std::string& tenant, uint64_t xid) = 0;
  // For each tenant the smallest xid above its entry in `after`, 0 when it has none; one statement for all.
  virtual StatusOr<std::vector<uint64_t>> next_after(std::span<const std::string> tenants,
                                                     std::span<const uint64_t> after) = 0;
};

}  // namespace headgate::engine
