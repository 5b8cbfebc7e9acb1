#include "engine/feed/ahead.h"

#include <algorithm>

#include "engine/storage/write_locks.h"

namespace headgate::engine {

namespace {

// The feed's own thread reads nothing else meanwhile.
constexpr int kPagesAtOnce = 4;

}  // namespace

void AheadList::add(std::vector<FeedItemPtr> parts) {
  for (const FeedItemPtr& item : parts) bytes_ += item->bytes();
  transactions_.emplace(next_++, std::move(parts));
}

void AheadList::drop_below(uint64_t xid) {
  for (auto at = transactions_.begin(); at != transactions_.end();) {
    if (at->second.front()->xid >= xid) {
      ++at;
      continue;
    }
    for (const FeedItemPtr& item : at->second) bytes_ -= item->bytes();
    at = transactions_.erase(at);
  }
}

void AheadList::clear() {
  transactions_.clear();
  bytes_ = 0;
}

const std::vector<FeedItemPtr>* AheadList::find(uint64_t* number) const {
  const auto found = transactions_.lower_bound(*number);
  if (found == transactions_.end()) return nullptr;
  *number = found->first;
  return &found->second;
}

std::vector<TransactionIdentity> AheadList::newest(size_t max) const {
  std::vector<TransactionIdentity> found;
  for (auto at = transactions_.rbegin(); at != transactions_.rend() && found.size() < max; ++at) {
    found.push_back(identity_of(*at->second.front()));
  }
  return found;
}

StatusOr<std::vector<HistoryTransaction>> AheadLook::look(HistoryReader& reader, uint64_t end) {
  HG_ASSIGN_OR_RETURN(Running now, reader.running());
  begin_at(now, end);
  running_ = std::move(now);
  for (const auto& [xid, tenant] : large_) add_running(xid, tenant);
  std::vector<HistoryTransaction> found;
  for (int pages = 0; pages < kPagesAtOnce && read_to_ < running_.xmax; ++pages) {
    HG_RETURN_IF_ERROR(read_page(reader, end, &found));
  }
  return found;
}

// What has ended since the last look is read now, with all behind it that it may have held back.
void AheadLook::begin_at(const Running& now, uint64_t end) {
  std::erase_if(told_, [end](uint64_t xid) { return xid < end; });
  std::erase_if(large_, [end](const auto& one) { return one.first < end; });
  for (const RunningTransaction& one : running_.transactions) {
    if (!now.contains(one.xid) && !large_.contains(one.xid)) read_to_ = std::min(read_to_, one.xid);
  }
  read_to_ = std::max(read_to_, end);
}

void AheadLook::hold(uint64_t xid, const std::string& tenant) {
  if (large_.emplace(xid, tenant).second) add_running(xid, tenant);
}

void AheadLook::add_running(uint64_t xid, const std::string& tenant) {
  std::vector<RunningTransaction>& all = running_.transactions;
  const auto at = std::ranges::upper_bound(all, xid, {}, &RunningTransaction::xid);
  all.insert(at, {xid, {.tenants = {tenant_lock(tenant)}, .backend = 0, .application = ""}});
}

Status AheadLook::read_page(HistoryReader& reader, uint64_t end, std::vector<HistoryTransaction>* found) {
  HG_ASSIGN_OR_RETURN(HistoryPage page, reader.page({read_to_, running_.xmax}, {}, limit_));
  HG_ASSIGN_OR_RETURN(const std::set<std::string> incomplete, incomplete_tenants(reader, page, end));
  for (HistoryTransaction& transaction : page.transactions) {
    const uint64_t xid = transaction.xid;
    if (running_.contains(xid) || told_.contains(xid) || incomplete.contains(transaction.tenant)) continue;
    if (running_.may_precede(tenant_lock(transaction.tenant), xid)) continue;
    told_.insert(xid);
    found->push_back(std::move(transaction));
  }
  read_to_ = page.next;
  if (page.large) {
    hold(page.large->xid, page.large->tenant);
    read_to_ = page.large->xid + 1;
  }
  return ok_status();
}

StatusOr<std::set<std::string>> AheadLook::incomplete_tenants(HistoryReader& reader, const HistoryPage& page,
                                                              uint64_t end) const {
  std::set<std::string> names;
  if (page.highest_floor <= end) return names;
  HG_ASSIGN_OR_RETURN(const std::vector<TenantFloor> floors, reader.collected_behind(end, UINT64_MAX));
  for (const TenantFloor& floor : floors) names.insert(floor.tenant);
  return names;
}

}  // namespace headgate::engine
