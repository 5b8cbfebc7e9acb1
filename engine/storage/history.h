// What the feed asks of the database: the horizon, and transactions in xid order. ops/decisions/0002 has the reasoning.
//
// All calls block on one connection of their own and, but for interrupt(), are not thread-safe; the feed thread owns
// one reader, every thread that catches streams up owns another. UNAVAILABLE when the database is away; the reader is
// then thrown away and a new one opened.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/snap_token.h"
#include "base/status.h"
#include "base/v1/base.pb.h"
#include "engine/storage/horizon.h"
#include "engine/storage/unreadable.h"

namespace headgate::engine {

// Something that happened to a tenant as a whole. Values as stored and as in headgate.v1.Transaction.Kind.
struct LifeEvent {
  enum class Kind { kCreated = 1, kRemoved = 2, kSchemaChanged = 3 };

  Kind kind = Kind::kCreated;
  std::string schema_version{};           // of kSchemaChanged
  std::string previous_schema_version{};  // empty for the first
  bool late = false;                      // found by comparison: it happened before its place in the order
};

// One committed engine transaction. Changes: deletes before creates, tuples before attributes, then by row id. A row
// that the transaction both created and expired is one delete, as Permify reports it. Rows that are no values are left
// out of the changes and named in `unreadable`; so is a life event of an unknown kind, which still has its `life`.
struct HistoryTransaction {
  uint64_t xid = 0;
  std::string tenant;
  int64_t started_at_us = 0;
  std::vector<base::v1::DataChange> changes;
  std::optional<LifeEvent> life = std::nullopt;  // then there are no changes
  UnreadableRows unreadable{};
};

// Tells a transaction apart from another one that got the same xid in a replaced history.
struct TransactionIdentity {
  uint64_t xid = 0;  // 0: no transaction
  int64_t started_at_us = 0;
  std::string tenant;

  bool operator==(const TransactionIdentity&) const = default;
};

// Half-open range of xids.
struct XidRange {
  uint64_t from = 0;
  uint64_t to = 0;
};

// How much a page may hold.
struct PageLimit {
  static constexpr size_t kNone = std::numeric_limits<size_t>::max();

  PageLimit(size_t changes, size_t whole = kNone) : changes(changes), whole(whole) {}
  size_t changes;  // about; never a part of a transaction
  size_t whole;    // a transaction with more changes, or with very much in long values, is only named
};

struct HistoryPage {
  std::vector<HistoryTransaction> transactions;  // ascending by xid
  uint64_t next = 0;                             // everything below has been returned; equals range.to when complete
  // Of a page of all or of many tenants: the highest floor that a collector of ours had recorded of any tenant when the
  // page was read. Up to range.from it cannot have taken anything from the page.
  uint64_t highest_floor = 0;
  // The transaction at `next`, when it alone is larger than PageLimit::whole; without its changes.
  std::optional<HistoryTransaction> large = std::nullopt;
};

struct TenantFloor {
  std::string tenant;
  uint64_t floor = 0;
  // Everything below the floor went with the tenant's removal, which is itself in the history at floor - 1.
  bool by_removal = false;
};

// What a reader that follows the database gets at once.
struct HistoryTail {
  uint64_t horizon = 0;
  HistoryPage page;   // from where the reader stood; `next` may be below the horizon when there is more
  uint64_t xmax = 0;  // xids from here on had not begun; 0: not looked at
};

// Which history the database's xids belong to.
struct Incarnation {
  std::string id;          // "<system identifier>/<timeline>"
  uint64_t first_xid = 0;  // xids below belong to an earlier incarnation; 0 when none is known
  bool standby = false;    // what it has not replayed may still come
};

// What is known of one tenant's past.
struct TenantHistory {
  uint64_t oldest_xid = 0;  // smallest transactions row, 0 when there is none
  uint64_t newest_xid = 0;  // largest
  uint64_t floor = 0;       // history below this xid was collected (by us, or visibly by Permify's collector)
  // The newest life events, 0 when none is recorded. A removal by an engine raises the floor, too, to removed_xid + 1.
  // What a stream of life events misses below such a floor ends with that removal.
  uint64_t created_xid = 0;
  uint64_t removed_xid = 0;
  // A removal by another program, recorded late: what lies in front of it may be of the life behind it.
  uint64_t removed_late_xid = 0;
  // Whoever was at `xid` gets to a removal, so its transaction may be gone.
  bool removed_behind(uint64_t xid) const { return std::max(removed_xid, removed_late_xid) > xid; }
  bool floor_is_removal() const { return floor != 0 && removed_xid != 0 && floor <= removed_xid + 1; }
  // The asked xid is a transactions row of this tenant. A row that the server has not come to yet was restored from a
  // dump of another one and does not count.
  bool has_xid = false;
  bool xid_elsewhere = false;          // it is a row of another tenant
  std::optional<PgSnapshot> snapshot;  // the raw snapshot stored with the asked xid, when has_xid
};

enum class MissedLives {
  kNone,        // life events tell what the tables show
  kMore,        // some were recorded; ask again
  kImpossible,  // a standby, or a role that may not record them
};

class HistoryReader {
 public:
  virtual ~HistoryReader() = default;
  // The feed compares it on every reconnect. The first sight of a new incarnation is recorded in the database.
  virtual StatusOr<Incarnation> incarnation() = 0;
  // The xid below which every engine transaction has ended. Never lower than the last answer of this reader.
  // UNAVAILABLE when the server turned from standby to primary: its timeline is another one now.
  virtual StatusOr<uint64_t> horizon() = 0;
  // The state at this moment: only engine transactions are listed as in progress. Its lowest entry (or xmax) is a
  // horizon. xids from xmax on had not begun.
  virtual StatusOr<PgSnapshot> now() = 0;
  // The same with what is known of those in progress. What has ended below xmax, later calls of page() see. On a
  // standby xmax is the horizon, and nothing is in progress.
  virtual StatusOr<Running> running() = 0;
  // Transactions of all tenants (empty `tenants`) or of the named ones within `range`. It may be empty although `next`
  // is below range.to: ask again from there.
  virtual StatusOr<HistoryPage> page(XidRange range, std::span<const std::string> tenants, PageLimit limit) = 0;
  // One answer per tenant, one statement for all. `xids[i]` 0 asks nothing about an xid.
  virtual StatusOr<std::vector<TenantHistory>> tenants(std::span<const std::string> tenants,
                                                       std::span<const uint64_t> xids) = 0;
  // horizon() and the first page() behind `from` for all tenants, in one round trip as long as nothing unusual stands
  // in the way: a foreign transaction that holds the horizon back, a page that is too large, a standby.
  // `quiet`: nothing is likely to be there, so the horizon alone is asked for until it has moved.
  virtual StatusOr<HistoryTail> tail(uint64_t from, PageLimit limit, bool quiet) = 0;
  // For each tenant the smallest xid above its entry in `after`, 0 when it has none; one statement for all.
  virtual StatusOr<std::vector<uint64_t>> next_after(std::span<const std::string> tenants,
                                                     std::span<const uint64_t> after) = 0;
  // Those of `xids` that are transactions rows of the tenant, ascending.
  virtual StatusOr<std::vector<uint64_t>> rows_among(const std::string& tenant, std::span<const uint64_t> xids) = 0;
  // Tenants with transactions whose history at `xid` was collected: their recorded floor lies above it.
  // Those without transactions, which were removed, only when it lies above `removed_behind` as well.
  virtual StatusOr<std::vector<TenantFloor>> collected_behind(uint64_t xid, uint64_t removed_behind) = 0;
  // The newest transaction or life event of any tenant below `xid`; its xid is 0 when there is none.
  virtual StatusOr<TransactionIdentity> newest_below(uint64_t xid) = 0;
  // For each whether the database still has it, or what is known of collectors and removals explains that it has not;
  // one statement for all.
  virtual StatusOr<std::vector<bool>> intact(std::span<const TransactionIdentity> seen) = 0;
  // Every tenant with transactions, registered or not.
  virtual StatusOr<std::vector<std::string>> with_history() = 0;
  // The number of transactions rows within `range`, all tenants. For the auditor.
  virtual StatusOr<uint64_t> count(XidRange range) = 0;
  // A number that changes, within a few seconds, when tenants were created or deleted or got another schema; costs next
  // to nothing.
  virtual StatusOr<uint64_t> tenant_changes() = 0;
  // The tenants that are registered now, in byte order.
  virtual StatusOr<std::vector<std::string>> registered() = 0;
  // Those of `tenants`, which are not registered any more, of whose removal there is no life event.
  virtual StatusOr<std::vector<std::string>> unrecorded(std::span<const std::string> tenants) = 0;
  // Compares all tenants with what life events tell of them, and records, late, what another program did to them; a
  // bounded number at a time.
  virtual StatusOr<MissedLives> record_missed_lives() = 0;
  // The same for one tenant, all of it. True when something was recorded; not while the tenant is locked.
  virtual StatusOr<bool> record_missed_life(const std::string& tenant) = 0;
  // Breaks the connection, so that a call that hangs on it returns UNAVAILABLE. Thread-safe.
  virtual void interrupt() = 0;

  StatusOr<TenantHistory> tenant(const std::string& name, uint64_t xid) {
    HG_ASSIGN_OR_RETURN(std::vector<TenantHistory> all, tenants({&name, 1}, {&xid, 1}));
    return std::move(all.front());
  }
};

// Opens a reader; called from several threads.
using HistoryOpener = std::function<StatusOr<std::unique_ptr<HistoryReader>>()>;

}  // namespace headgate::engine
