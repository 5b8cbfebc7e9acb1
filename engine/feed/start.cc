#include "engine/feed/start.h"

#include <algorithm>

#include "base/guard.h"
#include "engine/feed/identity.h"
#include "engine/storage/horizon.h"

namespace headgate::engine {

namespace {

Status out_of_range(std::string_view reason, std::string_view text) {
  return refusal(StatusCode::kOutOfRange, reason, text);
}

// A token of a state that is not a write's: its own xid is outside of what the snapshot says about others.
bool names_a_state(const SnapToken& token) {
  return token.form == SnapToken::Form::kSnapshot && token.xid + 1 == token.snapshot.xmin;
}

Status refuse_unknown(const SnapToken& token, const TenantHistory& tenant) {
  const bool collected = tenant.oldest_xid != 0 && token.xid < tenant.oldest_xid && !tenant.xid_elsewhere;
  if (collected) {
    return out_of_range(kHistoryGone,
                        "the history behind this snap token was collected; read the current state and "
                        "watch from its token");
  }
  return out_of_range(kUnknownToken,
                      "this snap token is not of this tenant's history (another tenant or database, or "
                      "the tenant was deleted meanwhile)");
}

}  // namespace

bool StartPoint::wants(uint64_t xid) const { return xid >= from_all || std::ranges::binary_search(missing, xid); }

StartPoint start_behind(const PgSnapshot& snapshot, uint64_t own) {
  StartPoint start = StartPoint::at(snapshot.xmax);
  for (const uint64_t xid : snapshot.in_progress) {
    if (xid != own && guarded(Guard::kTokenHoles)) start.missing.push_back(xid);
  }
  if (!start.missing.empty()) start.from = start.missing.front();
  return start;
}

StatusOr<SnapToken> read_token(std::string_view text) {
  auto token = decode_snap_token(text);
  if (!token.ok()) return refusal(StatusCode::kInvalidArgument, kMalformedToken, message_of(token.status()));
  return *token;
}

StartPoint earliest_start(const TenantHistory& tenant, bool* later) {
  *later = tenant.floor != 0 && !tenant.floor_is_removal();
  return StartPoint::at(tenant.floor_is_removal() ? tenant.removed_xid + 1 : tenant.floor);
}

StatusOr<StartPoint> decide_start(const SnapToken& token, const StartFacts& facts) {
  const TenantHistory& tenant = facts.tenant;
  // What is missing in front of the floor ends with a removal that the stream delivers.
  const bool removed = facts.lives && tenant.floor_is_removal();
  if (token.form == SnapToken::Form::kLegacy && token.xid == 0) {
    if (tenant.floor == 0 || removed) return StartPoint::at(0);
    return out_of_range(kHistoryGone,
                        "the tenant's oldest history was collected; read the current state and watch "
                        "from its token");
  }
  const bool state = names_a_state(token);
  const uint64_t from = state ? token.snapshot.xmin : token.xid;
  if (!facts.verified && from < facts.incarnation.first_xid && guarded(Guard::kTokenIncarnation)) {
    return out_of_range(kOtherIncarnation,
                        "this snap token was made before the database was restored or promoted; "
                        "read the current state and watch from its token");
  }
  // A position may equal the newest xmax: nothing had begun behind it.
  if (state ? token.snapshot.xmax > facts.now.xmax : !tenant.has_xid && token.xid >= facts.now.xmax) {
    return out_of_range(kFutureToken,
                        "this snap token is ahead of the database; it was made by another one, or this "
                        "one lost data");
  }
  // What a removal took along leaves no row, and no floor when another program removed it.
  const bool gone = facts.lives && tenant.removed_behind(token.xid) && !tenant.xid_elsewhere;
  const bool known = tenant.has_xid || facts.verified || gone;
  if (!state && !known && guarded(Guard::kTokenFloor)) return refuse_unknown(token, tenant);
  if (from < tenant.floor && !removed && guarded(Guard::kTokenFloor)) {
    return out_of_range(kHistoryGone,
                        "the history behind this snap token was collected; read the current state and "
                        "watch from its token");
  }
  if (state) return start_behind(token.snapshot, 0);
  if (token.form == SnapToken::Form::kLegacy) return StartPoint::at(token.xid + 1);
  // What the token says may be older than the rule that fills the holes; what was stored with the row is not.
  const SnapToken exact = tenant.snapshot ? token_of_write(token.xid, *tenant.snapshot) : token;
  return start_behind(exact.snapshot, token.xid);
}

void keep_rows(StartPoint& start, uint64_t horizon, const std::vector<uint64_t>& rows) {
  std::erase_if(start.missing, [&](uint64_t xid) { return xid < horizon && !std::ranges::binary_search(rows, xid); });
  start.from = start.missing.empty() ? start.from_all : start.missing.front();
}

PgSnapshot settled(const PgSnapshot& now, uint64_t newest, const Incarnation& incarnation) {
  PgSnapshot state{now.xmin, durable_position({.xid = newest}, incarnation, now.xmax), now.in_progress};
  std::erase_if(state.in_progress, [&](uint64_t xid) { return xid >= state.xmax; });
  state.xmin = horizon_of(state);
  return state;
}

std::string start_token(const PgSnapshot& now) {
  return encode_snap_token({SnapToken::Form::kSnapshot, now.xmin - 1, now});
}

}  // namespace headgate::engine
