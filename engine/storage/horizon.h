// The rule that decides how far history is complete. Pure; ops/decisions/0002 has the proof.
#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "base/snap_token.h"

namespace headgate::engine {

// Who a transaction in progress is, as far as the server tells.
struct LockHolder {
  // Of a writer of an engine: the locks of tenants (write_locks.h) that it holds, some of their keys among them; it
  // changes nothing of any other tenant. Empty: it may change any.
  std::vector<int64_t> tenants;
  int backend = 0;          // process id; 0: a prepared transaction
  std::string application;  // application_name
};

// Who held the lock that every engine transaction takes on `transactions` before it gets its xid.
struct LockHolders {
  std::unordered_map<uint32_t, LockHolder> xids;  // by the low half of the xid, as pg_locks shows it
  // Somebody held the lock whose xid could not be seen: it may be any of those in progress.
  bool unknown = false;
};

// A transaction that can still become a part of the history.
struct RunningTransaction {
  uint64_t xid = 0;
  LockHolder holder;

  // Nobody knows whose it is, so it may be any tenant's.
  bool may_be_anybodys() const;
};

// What is in progress at one moment.
struct Running {
  uint64_t xmax = 0;                             // xids from here on had not begun
  std::vector<RunningTransaction> transactions;  // ascending

  // A transaction of this tenant (tenant_lock()) below `xid` may still come: it cannot be told yet what has the xid.
  bool may_precede(int64_t tenant, uint64_t xid) const;
  bool contains(uint64_t xid) const;
  // Below it nothing is in progress.
  uint64_t horizon() const { return transactions.empty() ? xmax : transactions.front().xid; }
};

// `before` was taken before the locks were read, `after` behind it. The result keeps xmax of `before` but lists
// only those transactions as in progress that can still become a part of the history; xmin is the lowest of them, or
// xmax.
PgSnapshot engine_snapshot(const PgSnapshot& before, const LockHolders& holders, const PgSnapshot& after);

// The transactions in progress of an engine_snapshot(), with what is known of each.
Running running_of(const PgSnapshot& refined, const LockHolders& holders);

// The xid below which `snapshot` has nothing in progress.
uint64_t horizon_of(const PgSnapshot& snapshot);

}  // namespace headgate::engine
