// The rule that decides how far history is complete. Pure; ops/decisions/0002 has the proof.
#pragma once

#include <cstdint>
#include <unordered_set>
#include <vector>

#include "base/snap_token.h"

namespace headgate::engine {

// Who held the lock that every engine transaction takes on `transactions` before it gets its xid.
struct LockHolders {
  std::unordered_set<uint32_t> xids;  // the low half of the xid, as pg_locks shows it
  // Somebody held the lock whose xid could not be seen: it may be any of those in progress.
  bool unknown = false;
};

// `before` was taken before the locks were read, `after` behind it. The result keeps xmax of `before` but lists
// only those transactions as in progress that can still become a part of the history; xmin is the lowest of them, or
// xmax.
PgSnapshot engine_snapshot(const PgSnapshot& before, const LockHolders& holders, const PgSnapshot& after);

// The xid below which `snapshot` has nothing in progress.
uint64_t horizon_of(const PgSnapshot& snapshot);

}  // namespace headgate::engine
