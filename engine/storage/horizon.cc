#include "engine/storage/horizon.h"

#include <algorithm>

#include "base/guard.h"

namespace headgate::engine {

namespace {

bool in_progress(const PgSnapshot& snapshot, uint64_t xid) {
  return xid >= snapshot.xmax || std::ranges::binary_search(snapshot.in_progress, xid);
}

}  // namespace

PgSnapshot engine_snapshot(const PgSnapshot& before, const LockHolders& holders, const PgSnapshot& after) {
  PgSnapshot refined{before.xmin, before.xmax, {}};
  for (const uint64_t xid : before.in_progress) {
    const bool held = holders.unknown || holders.xids.contains(static_cast<uint32_t>(xid));
    const bool ours = held && guarded(Guard::kLockHolders);
    if (ours && in_progress(after, xid)) refined.in_progress.push_back(xid);
  }
  refined.xmin = horizon_of(refined);
  return refined;
}

Running running_of(const PgSnapshot& refined, const LockHolders& holders) {
  Running running{refined.xmax, {}};
  for (const uint64_t xid : refined.in_progress) {
    const auto found = holders.xids.find(static_cast<uint32_t>(xid));
    running.transactions.push_back({xid, found == holders.xids.end() ? LockHolder{} : found->second});
  }
  return running;
}

bool RunningTransaction::may_be_anybodys() const { return holder.tenants.empty() && guarded(Guard::kUnknownWriters); }

bool Running::may_precede(int64_t tenant, uint64_t xid) const {
  for (const RunningTransaction& one : transactions) {
    if (one.xid >= xid) break;
    const std::vector<int64_t>& tenants = one.holder.tenants;
    if (one.may_be_anybodys() || std::ranges::find(tenants, tenant) != tenants.end()) return true;
  }
  return false;
}

bool Running::contains(uint64_t xid) const {
  return std::ranges::binary_search(transactions, xid, {}, &RunningTransaction::xid);
}

uint64_t horizon_of(const PgSnapshot& snapshot) {
  return snapshot.in_progress.empty() ? snapshot.xmax : snapshot.in_progress.front();
}

}  // namespace headgate::engine
