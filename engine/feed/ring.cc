#include "engine/feed/ring.h"

#include <algorithm>

namespace headgate::engine {

namespace {

FeedPlace place_of(const FeedItem& item) { return {item.xid, item.part}; }

// Takes items until a limit is reached; false when full.
class Collector {
 public:
  explicit Collector(ReadLimit limit) : limit_(limit) {}
  bool add(const FeedItemPtr& item) {
    const bool full = items.size() >= limit_.items_max || (!items.empty() && bytes_ + item->bytes() > limit_.bytes_max);
    if (full) return false;
    bytes_ += item->bytes();
    items.push_back(item);
    return true;
  }

  std::vector<FeedItemPtr> items;

 private:
  const ReadLimit limit_;
  size_t bytes_ = 0;
};

}  // namespace

FeedPlace place_after(const FeedItem& item) {
  return item.more_parts ? FeedPlace{item.xid, item.part + 1} : FeedPlace{item.xid + 1, 0};
}

void Ring::reset(uint64_t xid, TransactionIdentity newest) {
  before_ = std::move(newest);
  entries_.clear();
  by_tenant_.clear();
  bytes_ = transactions_ = 0;
  start_ = end_ = durable_end_ = xid;
}

void Ring::append(const std::vector<FeedItemPtr>& parts, MonotonicTime now) {
  HG_CHECK(!parts.empty() && parts.front()->xid >= end_);
  size_t total = 0;
  for (const FeedItemPtr& item : parts) total += item->bytes();
  end_ = durable_end_ = parts.back()->xid + 1;
  if (total > settings_.bytes_max) {
    // Streams read it from the database; keeping a part of it would serve nobody.
    const uint64_t end = end_;
    reset(end, identity_of(*parts.back()));
    return;
  }
  while (!entries_.empty() && bytes_ + total > settings_.bytes_max) drop_front();
  for (const FeedItemPtr& item : parts) {
    by_tenant_[item->tenant].push_back(first_number_ + entries_.size());
    entries_.push_back({item, now});
  }
  bytes_ += total;
  ++transactions_;
}

void Ring::drop_older(MonotonicTime now) {
  while (!entries_.empty() && entries_.front().appended + settings_.age_max < now) drop_front();
}

// All parts of the front's transaction: a stream that stands inside of it reads it again from the database.
void Ring::drop_front() {
  const uint64_t xid = entries_.front().item->xid;
  before_ = identity_of(*entries_.front().item);
  while (!entries_.empty() && entries_.front().item->xid == xid) {
    const FeedItemPtr& item = entries_.front().item;
    const auto tenant = by_tenant_.find(item->tenant);
    tenant->second.pop_front();
    if (tenant->second.empty()) by_tenant_.erase(tenant);
    bytes_ -= item->bytes();
    entries_.pop_front();
    ++first_number_;
  }
  --transactions_;
  start_ = xid + 1;
}

TransactionIdentity Ring::newest_below(uint64_t xid) const {
  const auto entry = std::ranges::lower_bound(entries_, xid, {}, [](const Entry& e) { return e.item->xid; });
  return entry == entries_.begin() ? before_ : identity_of(*std::prev(entry)->item);
}

std::vector<TransactionIdentity> Ring::newest(size_t max) const {
  std::vector<TransactionIdentity> found;
  for (auto entry = entries_.rbegin(); entry != entries_.rend() && found.size() < max; ++entry) {
    if (found.empty() || found.back().xid != entry->item->xid) found.push_back(identity_of(*entry->item));
  }
  if (found.size() < max && before_.xid != 0) found.push_back(before_);
  return found;
}

std::vector<FeedItemPtr> Ring::read(const std::string& tenant, FeedPlace* place, ReadLimit limit) const {
  Collector collector(limit);
  bool all = true;
  if (const auto found = by_tenant_.find(tenant); found != by_tenant_.end()) {
    const auto& numbers = found->second;
    auto number = std::ranges::lower_bound(numbers, *place, {}, [&](uint64_t n) { return place_of(*at(n)); });
    for (; number != numbers.end() && all; ++number) all = collector.add(at(*number));
  }
  if (!collector.items.empty()) *place = place_after(*collector.items.back());
  if (all) *place = std::max(*place, FeedPlace{end_, 0});
  return std::move(collector.items);
}

std::vector<FeedItemPtr> Ring::read(const std::function<bool(const FeedItem&)>& wanted, FeedPlace* place,
                                    ReadLimit limit) const {
  Collector collector(limit);
  auto entry = std::ranges::lower_bound(entries_, *place, {}, [](const Entry& e) { return place_of(*e.item); });
  for (; entry != entries_.end(); ++entry) {
    if (wanted(*entry->item) && !collector.add(entry->item)) {
      *place = place_of(*entry->item);
      return std::move(collector.items);
    }
  }
  *place = std::max(*place, FeedPlace{end_, 0});
  return std::move(collector.items);
}

}  // namespace headgate::engine
