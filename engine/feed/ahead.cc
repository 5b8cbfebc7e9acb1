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
  begin_at(std::move(now), end);
  std::vector<HistoryTransaction> found;
  for (int pages = 0; pages < kPagesAtOnce && read_to_ < limit(); ++pages) {
    HG_RETURN_IF_ERROR(read_page(reader, end, &found));
  }
  return found;
}

// What has ended since the last look is read now, and what waited for it.
void AheadLook::begin_at(Running now, uint64_t end) {
  std::erase_if(told_, [end](uint64_t xid) { return xid < end; });
  std::erase_if(large_, [end](const auto& one) { return one.first < end; });
  for (auto& [tenant, xids] : waiting_) xids.erase(xids.begin(), xids.lower_bound(end));
  std::erase_if(waiting_, [](const auto& one) { return one.second.empty(); });
  for (const RunningTransaction& one : running_.transactions) {
    if (!now.contains(one.xid) && !large_.contains(one.xid)) read_to_ = std::min(read_to_, one.xid);
  }
  running_ = std::move(now);
  for (const auto& [xid, tenant] : large_) add_running(xid, tenant);
  for (const auto& [tenant, xids] : waiting_) {
    const uint64_t first = *xids.begin();
    const bool waits = running_.contains(first) || running_.may_precede(tenant_lock(tenant), first);
    if (!waits) read_to_ = std::min(read_to_, first);
  }
  read_to_ = std::max(read_to_, end);
}

// Behind somebody unknown everything waits, and is not worth a look.
uint64_t AheadLook::limit() const {
  const auto unknown = std::ranges::find_if(running_.transactions, &RunningTransaction::may_be_anybodys);
  return unknown == running_.transactions.end() ? running_.xmax : unknown->xid;
}

void AheadLook::hold(uint64_t xid, const std::string& tenant) {
  if (!large_.emplace(xid, tenant).second) return;
  if (!running_.contains(xid)) add_running(xid, tenant);
  // Others may have waited for it as long as it was in progress and nobody knew whose it was.
  read_to_ = std::min(read_to_, xid);
}

void AheadLook::add_running(uint64_t xid, const std::string& tenant) {
  std::vector<RunningTransaction>& all = running_.transactions;
  const auto at = std::ranges::upper_bound(all, xid, {}, &RunningTransaction::xid);
  all.insert(at, {xid, {.tenants = {tenant_lock(tenant)}, .backend = 0, .application = ""}});
}

Status AheadLook::read_page(HistoryReader& reader, uint64_t end, std::vector<HistoryTransaction>* found) {
  HG_ASSIGN_OR_RETURN(HistoryPage page, reader.page({read_to_, limit()}, {}, limit_));
  HG_ASSIGN_OR_RETURN(const std::set<std::string> incomplete, incomplete_tenants(reader, page, end));
  for (HistoryTransaction& transaction : page.transactions) {
    const uint64_t xid = transaction.xid;
    if (told_.contains(xid)) continue;
    std::set<uint64_t>& waiting = waiting_[transaction.tenant];
    const bool behind = !waiting.empty() && *waiting.begin() < xid;
    if (behind || running_.contains(xid) || incomplete.contains(transaction.tenant) ||
        running_.may_precede(tenant_lock(transaction.tenant), xid)) {
      waiting.insert(xid);
      continue;
    }
    waiting.erase(xid);
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
