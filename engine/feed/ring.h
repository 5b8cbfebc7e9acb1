// The recent past of all tenants, in memory: a queue of whole transactions, bounded by bytes and by age, with an index
// per tenant so that reading one tenant does not cost what the others wrote.
//
// Not thread-safe; the feed's mutex guards it. Never blocks.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "engine/feed/item.h"

namespace headgate::engine {

struct RingSettings {
  size_t bytes_max = 64 << 20;
  Duration age_max{5 * 60'000};
};

// The next message of a stream: everything in front of it has been sent.
struct FeedPlace {
  uint64_t xid = 0;
  uint32_t part = 0;

  auto operator<=>(const FeedPlace&) const = default;
};

// What one read may return; whichever is reached first. One item is always returned when there is one.
struct ReadLimit {
  size_t items_max = 100;
  size_t bytes_max = 1 << 20;
};

class Ring {
 public:
  explicit Ring(RingSettings settings) : settings_(settings) {}

  // Forgets everything and starts at `xid`; `newest` is the last transaction in front of it.
  void reset(uint64_t xid, TransactionIdentity newest);
  // All parts of one transaction. REQUIRES: its xid >= end().
  void append(const std::vector<FeedItemPtr>& parts, MonotonicTime now);
  // Everything below `xid` has been appended.
  void advance(uint64_t xid) { end_ = xid; }
  // Takes back what lies behind the last transaction: other xids may come there.
  void rewind() { end_ = durable_end_; }
  void drop_older(MonotonicTime now);

  // Every transaction with start() <= xid < end() is here, unless it was too large for the ring and start() has moved
  // behind it.
  uint64_t start() const { return start_; }
  uint64_t end() const { return end_; }
  // Behind the last transaction seen: the same state as end(), but an xid that survives a crash of the database. Those
  // between the two were taken by others, and a server that crashes may hand them out again.
  uint64_t durable_end() const { return durable_end_; }
  // The last transaction in front of `xid`. REQUIRES: xid >= start().
  TransactionIdentity newest_below(uint64_t xid) const;
  // At most `max` of the last ones, the newest first, and the one in front of the ring when that is all.
  std::vector<TransactionIdentity> newest(size_t max) const;
  size_t bytes() const { return bytes_; }
  size_t size() const { return entries_.size(); }
  size_t transactions() const { return transactions_; }

  // Reads from `place` on and moves it. With a tenant, only that one's. REQUIRES: place->xid >= start().
  std::vector<FeedItemPtr> read(const std::string& tenant, FeedPlace* place, ReadLimit limit) const;
  // All tenants that `wanted` accepts.
  std::vector<FeedItemPtr> read(const std::function<bool(const FeedItem&)>& wanted, FeedPlace* place,
                                ReadLimit limit) const;

 private:
  struct Entry {
    FeedItemPtr item;
    MonotonicTime appended;
  };

  const FeedItemPtr& at(uint64_t number) const { return entries_[number - first_number_].item; }
  void drop_front();

  const RingSettings settings_;
  std::deque<Entry> entries_;
  uint64_t first_number_ = 0;  // entries are numbered on and on; this is the front's
  std::unordered_map<std::string, std::deque<uint64_t>> by_tenant_;  // numbers, ascending
  TransactionIdentity before_;                                       // the last transaction in front of start_
  uint64_t start_ = 0;
  uint64_t end_ = 0;
  uint64_t durable_end_ = 0;
  size_t bytes_ = 0;
  size_t transactions_ = 0;
};

// Behind a message: the next part, or the next transaction.
FeedPlace place_after(const FeedItem& item);

}  // namespace headgate::engine
