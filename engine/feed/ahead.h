// What is told in front of the horizon, so that a long transaction of one tenant does not hold the others back.
//
// A writer of an engine holds its tenant's lock before it has its xid, so the server's list of locks tells whose every
// transaction in progress is. What a tenant has committed can be told when nothing in progress below it may be the
// tenant's (Running::may_precede): its own order is complete up to there. ops/decisions/0018 has the reasoning.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <unordered_set>
#include <vector>

#include "engine/feed/item.h"
#include "engine/storage/history.h"

namespace headgate::engine {

// Whole transactions that were told ahead, as long as the ring has not come to them. In order of telling, which is that
// of xids only within a tenant. Not thread-safe; the feed's mutex guards it. Never blocks.
class AheadList {
 public:
  explicit AheadList(size_t bytes_max) : bytes_max_(bytes_max) {}

  // Nothing more is taken until some have been dropped.
  bool full() const { return bytes_ >= bytes_max_; }
  // All parts of one transaction.
  void add(std::vector<FeedItemPtr> parts);
  // The ring has them now.
  void drop_below(uint64_t xid);
  void clear();

  // The first transaction whose number is at least `number`, and its number; null when there is none. The next one has
  // at least its number + 1.
  const std::vector<FeedItemPtr>* find(uint64_t* number) const;
  // At most `max` of the last ones told, the newest first.
  std::vector<TransactionIdentity> newest(size_t max) const;

 private:
  const size_t bytes_max_;
  std::map<uint64_t, std::vector<FeedItemPtr>> transactions_;  // by number
  uint64_t next_ = 0;
  size_t bytes_ = 0;
};

// Finds what can be told ahead. Of one reader's thread.
class AheadLook {
 public:
  explicit AheadLook(PageLimit limit) : limit_(limit) {}

  // Another reader follows.
  void forget() { *this = AheadLook(limit_); }
  // Everything below `end` has been told in order. Blocks for a few statements; each transaction is found once.
  StatusOr<std::vector<HistoryTransaction>> look(HistoryReader& reader, uint64_t end);
  // A transaction that has ended, but is too large to be read here: it holds its own tenant back until the end passes
  // it.
  void hold(uint64_t xid, const std::string& tenant);
  // As of the last look.
  const Running& running() const { return running_; }

 private:
  Status read_page(HistoryReader& reader, uint64_t end, std::vector<HistoryTransaction>* found);
  // Of which a part may have been collected or removed: they wait.
  StatusOr<std::set<std::string>> incomplete_tenants(HistoryReader& reader, const HistoryPage& page,
                                                     uint64_t end) const;
  void begin_at(Running now, uint64_t end);
  // Nothing is told from here on.
  uint64_t limit() const;
  void add_running(uint64_t xid, const std::string& tenant);

  PageLimit limit_;
  Running running_;
  uint64_t read_to_ = 0;  // behind what earlier looks have read
  std::unordered_set<uint64_t> told_;
  // By tenant, what has been read and had to wait; nothing behind it is told before.
  std::map<std::string, std::set<uint64_t>> waiting_;
  std::map<uint64_t, std::string> large_;  // xid -> tenant
};

}  // namespace headgate::engine
