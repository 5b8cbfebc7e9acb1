// Where a stream starts: the decision over a token and what the database knows. Pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/snap_token.h"
#include "engine/model/reasons.h"
#include "engine/storage/history.h"

namespace headgate::engine {

// Where a stream starts, and which of the transactions behind it belong to the state the client already has.
//
// A token of a write names a snapshot: transactions in progress then are not part of it although their xids are lower,
// and come first on the stream. All other forms start at one xid without exceptions.
struct StartPoint {
  uint64_t from = 0;
  // Below `from_all` only `missing` is sent; from there on everything.
  uint64_t from_all = 0;
  std::vector<uint64_t> missing;  // ascending

  bool wants(uint64_t xid) const;
  static StartPoint at(uint64_t xid) { return {xid, xid, {}}; }
};

// The start behind the state `snapshot`, which also holds the transaction `own` (0: none).
StartPoint start_behind(const PgSnapshot& snapshot, uint64_t own);

// What the decision rests on, all read after the request arrived.
struct StartFacts {
  TenantHistory tenant;  // asked about the token's xid
  PgSnapshot now;        // engine transactions in progress; xids from xmax on had not begun
  Incarnation incarnation;
  bool verified = false;  // the client's last transaction is still there as it was
  bool lives = false;     // the stream tells removals of tenants
};

// INVALID_ARGUMENT with MALFORMED_TOKEN.
StatusOr<SnapToken> read_token(std::string_view text);

// The oldest start behind which everything is there; `later` when something was collected in front of it. What a
// removal took belongs to a life that is over.
StartPoint earliest_start(const TenantHistory& tenant, bool* later);

// OUT_OF_RANGE with a reason for a token that cannot be continued from.
StatusOr<StartPoint> decide_start(const SnapToken& token, const StartFacts& facts);

// The xids a write's token lists as in progress and that have ended by now: only those that became transactions of the
// tenant are sent. `rows` are those.
void keep_rows(StartPoint& start, uint64_t horizon, const std::vector<uint64_t>& rows);

// The same state as `now`, in xids that survive a crash of the database: `newest` is the last transaction below its
// end.
PgSnapshot settled(const PgSnapshot& now, uint64_t newest, const Incarnation& incarnation);

// The token of the state in front of a stream that starts at `now`: the client can read the state there.
std::string start_token(const PgSnapshot& now);

}  // namespace headgate::engine
