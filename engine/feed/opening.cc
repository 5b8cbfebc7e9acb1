#include "engine/feed/opening.h"

#include <algorithm>

#include "engine/feed/shared_history.h"
#include "engine/storage/horizon.h"

namespace headgate::engine {

namespace {

constexpr size_t kOpenedAtOnce = 1'000;

struct Asked {
  std::string tenant;
  std::optional<SnapToken> token;
  StatusOr<StartPoint> start = StartPoint::at(0);
  const StreamTenant* wish = nullptr;
  bool intact = true;          // the client's last transaction of it
  bool later = false;          // the start is behind what was asked for
  uint64_t position = 0;       // to be told when it cannot start, or starts later; 0: the head
  uint64_t removed_below = 0;  // its removal lies behind the start
};

std::vector<Asked> read_tokens(const StreamRequest& request, const SharedHistory& shared) {
  std::vector<Asked> asked;
  for (const StreamTenant& wish : request.tenants) {
    Asked one{.tenant = wish.tenant, .wish = &wish, .intact = shared.intact[asked.size()]};
    if (!wish.snap_token.empty()) {
      auto token = read_token(wish.snap_token);
      if (token.ok()) {
        one.token = std::move(*token);
      } else {
        one.start = token.status();
      }
    }
    asked.push_back(std::move(one));
  }
  return asked;
}

StatusOr<std::vector<TenantHistory>> histories(const std::vector<Asked>& asked, HistoryReader& reader) {
  std::vector<TenantHistory> all;
  for (size_t begin = 0; begin < asked.size(); begin += kOpenedAtOnce) {
    std::vector<std::string> names;
    std::vector<uint64_t> xids;
    for (size_t i = begin; i < std::min(asked.size(), begin + kOpenedAtOnce); ++i) {
      names.push_back(asked[i].tenant);
      xids.push_back(asked[i].token ? asked[i].token->xid : 0);
    }
    HG_ASSIGN_OR_RETURN(std::vector<TenantHistory> some, reader.tenants(names, xids));
    std::ranges::move(some, std::back_inserter(all));
  }
  return all;
}

// What all decisions of one opening rest on.
struct Ground {
  const StreamRequest& request;
  const Incarnation& incarnation;
  const SharedHistory& shared;
  PgSnapshot now{};              // as the database has it
  PgSnapshot state{};            // the same in xids that survive a crash
  TransactionIdentity newest{};  // the newest transaction of any tenant below the state's horizon
  uint64_t position = 0;         // behind it

  bool other_incarnation() const { return !request.incarnation.empty() && request.incarnation != incarnation.id; }
  // Up to here a client of several tenants has everything of the quiet ones.
  std::optional<uint64_t> common() const {
    if (!shared.asked) return std::nullopt;
    if (shared.others_named) return decode_snap_token(request.others_token)->xid + 1;
    return shared.end();
  }
};

Status other_incarnation() {
  return refusal(StatusCode::kOutOfRange, kOtherIncarnation,
                 "the database's history is another one than the client's; read the current state and start anew");
}

Status history_gone() {
  return refusal(StatusCode::kOutOfRange, kHistoryGone,
                 "the history behind this snap token was collected; read the current state and watch from its token");
}

Status history_replaced() {
  return refusal(
      StatusCode::kOutOfRange, kHistoryReplaced,
      "the tenant's last transaction that the client has is not in the database any more; what it sent since "
      "both histories parted is void, and what follows comes from the snap token on");
}

uint64_t end_of(const SnapToken& token) {
  return token.form == SnapToken::Form::kLegacy ? token.xid + 1 : std::max(token.xid + 1, token.snapshot.xmax);
}

// The client has everything of it up to `common`, so the place of its last event is of no matter.
StatusOr<StartPoint> start_of_quiet(const SnapToken& token, uint64_t common, const TenantHistory& tenant,
                                    const PgSnapshot& now) {
  const uint64_t own = end_of(token);
  // A position that the database has not come to yet was one of a history that it lost.
  const uint64_t from = own > horizon_of(now) ? common : std::max(own, common);
  if (from < tenant.floor && !tenant.floor_is_removal()) return history_gone();
  return StartPoint::at(from);
}

// A stream that tells positions tells everything from its first one on: who reads a tenant's state beside it, at that
// position or a later one, misses nothing. A client of base.v1 gets what ends from now on.
StartPoint start_at_head(const Ground& ground) {
  return ground.request.notices ? StartPoint::at(ground.position) : start_behind(ground.state, 0);
}

StatusOr<StartPoint> start_of(const Asked& one, const Ground& ground, const TenantHistory& tenant,
                              HistoryReader& reader) {
  if (!one.start.ok()) return one.start.status();
  if (!one.intact) return history_replaced();
  if (!one.token) {
    bool later = false;
    return ground.request.earliest ? earliest_start(tenant, &later) : start_at_head(ground);
  }
  const std::optional<uint64_t> common = ground.common();
  if (one.wish->quiet && common) return start_of_quiet(*one.token, *common, tenant, ground.now);
  const bool verified = one.wish->last.xid != 0;
  if (!verified && ground.other_incarnation()) return other_incarnation();
  // Where it stood was a position of a history that was lost; the last event is common to both. One that was told ahead
  // stands behind that event, wherever the horizon is.
  if (verified && !one.wish->ahead && one.token->is_position() && end_of(*one.token) > horizon_of(ground.now)) {
    return StartPoint::at(std::max(ground.shared.end(), tenant.floor));
  }
  // A position that a stream of this incarnation told is good in it, also when it lies in front of its first xid: there
  // a tenant goes on whose history was replaced.
  const bool told_here = one.token->is_position() && ground.request.incarnation == ground.incarnation.id;
  const StartFacts facts{tenant, ground.now, ground.incarnation, verified || told_here, ground.request.notices};
  HG_ASSIGN_OR_RETURN(StartPoint start, decide_start(*one.token, facts));
  if (!start.missing.empty()) {
    HG_ASSIGN_OR_RETURN(const std::vector<uint64_t> rows, reader.rows_among(one.tenant, start.missing));
    keep_rows(start, horizon_of(ground.now), rows);
  }
  return start;
}

// The first transaction that the stream can contain; tenants without one cost nothing.
StatusOr<uint64_t> first_xid(const std::vector<Asked>& asked, uint64_t horizon, HistoryReader& reader) {
  uint64_t first = UINT64_MAX;
  std::vector<std::string> names;
  std::vector<uint64_t> after;
  for (const Asked& one : asked) {
    if (!one.start.ok()) continue;
    if (one.start->from >= horizon) {
      first = std::min(first, one.start->from);
      continue;
    }
    names.push_back(one.tenant);
    after.push_back(one.start->from == 0 ? 0 : one.start->from - 1);
  }
  for (size_t begin = 0; begin < names.size(); begin += kOpenedAtOnce) {
    const size_t size = std::min(kOpenedAtOnce, names.size() - begin);
    HG_ASSIGN_OR_RETURN(const std::vector<uint64_t> next,
                        reader.next_after({names.data() + begin, size}, {after.data() + begin, size}));
    for (const uint64_t xid : next) first = std::min(first, xid == 0 ? horizon : std::min(xid, horizon));
  }
  return first;
}

bool ends_stream(const StreamRequest& request, const Status& status) {
  return !request.notices || reason_of(status).empty();
}

bool is_unknown(const Asked& one, const Ground& ground) {
  return ground.request.notices && one.token && !one.start.ok() && reason_of(one.start.status()) == kUnknownToken;
}

// Another program may have removed the tenant a moment ago, and then the stream is to get the removal.
Status look_again(Asked& one, const Ground& ground, TenantHistory& known, HistoryReader& reader) {
  HG_ASSIGN_OR_RETURN(const bool recorded, reader.record_missed_life(one.tenant));
  if (!recorded) return ok_status();
  HG_ASSIGN_OR_RETURN(known, reader.tenant(one.tenant, one.token->xid));
  one.start = StartPoint::at(0);
  one.start = start_of(one, ground, known, reader);
  return ok_status();
}

// Snapshot and facts, in this order: what the snapshot calls ended, the later statements see.
Status decide_all(Ground& ground, HistoryReader& reader, std::vector<Asked>& asked) {
  const bool needs_facts = ground.request.earliest || std::ranges::any_of(asked, [](const Asked& one) {
                             return one.token.has_value() || !one.intact;
                           });
  std::vector<TenantHistory> known(asked.size());
  if (needs_facts) {
    HG_ASSIGN_OR_RETURN(known, histories(asked, reader));
  }
  HG_ASSIGN_OR_RETURN(ground.now, reader.now());
  HG_ASSIGN_OR_RETURN(const TransactionIdentity newest, reader.newest_below(ground.now.xmax));
  ground.state = settled(ground.now, newest.xid, ground.incarnation);
  const uint64_t horizon = horizon_of(ground.state);
  HG_ASSIGN_OR_RETURN(ground.newest, reader.newest_below(horizon));
  ground.position = durable_position(ground.newest, ground.incarnation, horizon);
  for (size_t i = 0; i < asked.size(); ++i) {
    asked[i].start = start_of(asked[i], ground, known[i], reader);
    if (is_unknown(asked[i], ground)) HG_RETURN_IF_ERROR(look_again(asked[i], ground, known[i], reader));
    if (!asked[i].start.ok() && ends_stream(ground.request, asked[i].start.status())) return asked[i].start.status();
    // Nothing of the new history is to be missed, as far as it is still there.
    if (!asked[i].intact) asked[i].position = std::max(ground.shared.end(), known[i].floor);
    if (asked[i].start.ok() && known[i].floor_is_removal() && asked[i].start->from < known[i].floor) {
      asked[i].removed_below = known[i].floor;
    }
    if (!asked[i].token && asked[i].start.ok() && ground.request.earliest) {
      earliest_start(known[i], &asked[i].later);
      asked[i].position = known[i].floor;
    }
  }
  return ok_status();
}

bool others_by_policy(const Ground& ground) { return ground.request.others_token.empty() && !ground.shared.asked; }

// Where the tenants start that the client does not name.
StatusOr<StartPoint> start_of_others(const Ground& ground) {
  const StreamRequest& request = ground.request;
  if (others_by_policy(ground)) {
    return request.earliest ? StartPoint::at(0) : start_at_head(ground);
  }
  if (request.others_token.empty()) return StartPoint::at(ground.shared.end());
  HG_ASSIGN_OR_RETURN(const SnapToken token, read_token(request.others_token));
  if (!token.is_position()) {
    return refusal(StatusCode::kInvalidArgument, kMalformedToken,
                   "the token for all other tenants must name a position; take it from a heartbeat of this feed");
  }
  const bool verified = ground.shared.others_named;
  if (!verified && ground.other_incarnation()) return other_incarnation();
  return decide_start(token, {{}, ground.now, ground.incarnation, verified, request.notices});
}

StreamNotice starts_later(std::string tenant, uint64_t floor) {
  return {.tenant = std::move(tenant),
          .reason = std::string(kHistoryStartsLater),
          .text = "the tenant's oldest history was collected; the stream begins behind that",
          .position = floor,
          .starts_later = true};
}

// Unnamed tenants that cannot start where the others do, because what lies in front of their floor was collected or
// went with a life that is over.
Status start_at_floors(const Ground& ground, const StartPoint& others, HistoryReader& reader, OpenedStream& opened) {
  const bool from_oldest = ground.request.earliest || ground.shared.asked;
  if (!ground.request.all_tenants || !ground.request.others_token.empty() || !from_oldest) return ok_status();
  HG_ASSIGN_OR_RETURN(std::vector<std::string> names, reader.with_history());
  std::erase_if(names, [&](const std::string& name) { return opened.filter.names(name); });
  for (size_t begin = 0; begin < names.size(); begin += kOpenedAtOnce) {
    const std::span<const std::string> some(names.data() + begin, std::min(kOpenedAtOnce, names.size() - begin));
    HG_ASSIGN_OR_RETURN(const auto known, reader.tenants(some, std::vector<uint64_t>(some.size(), 0)));
    for (size_t i = 0; i < some.size(); ++i) {
      bool later = false;
      const StartPoint start = earliest_start(known[i], &later);
      if (start.from <= others.from) continue;
      // A removal behind what the client has is news.
      if (!later && others.from > 0) continue;
      opened.filter.add(some[i], start);
      if (later) opened.notices.push_back(starts_later(some[i], start.from));
    }
  }
  return ok_status();
}

// Unnamed tenants whose history behind `start` was collected: they fail by name, never silently.
Status drop_collected(const StreamRequest& request, const StartPoint& start, HistoryReader& reader,
                      OpenedStream& opened) {
  if (!request.all_tenants || request.others_token.empty()) return ok_status();
  HG_ASSIGN_OR_RETURN(const std::vector<TenantFloor> collected, reader.collected_behind(start.from, UINT64_MAX));
  for (const auto& [tenant, floor, by_removal] : collected) {
    if (by_removal) continue;  // the stream gets the removal instead
    if (std::ranges::find(request.tenants, tenant, &StreamTenant::tenant) != request.tenants.end()) continue;
    opened.notices.push_back({tenant, false, std::string(kHistoryGone),
                              "the history behind the position of the other tenants was collected"});
    opened.filter.drop(tenant);
  }
  return ok_status();
}

}  // namespace

StatusOr<OpenedStream> open_stream(const StreamRequest& request, const Incarnation& incarnation,
                                   HistoryReader& reader) {
  HG_ASSIGN_OR_RETURN(const SharedHistory shared, compare_histories(request, incarnation, reader));
  Ground ground{request, incarnation, shared};
  if (ground.other_incarnation() && !shared.asked) return other_incarnation();
  std::vector<Asked> asked = read_tokens(request, shared);
  HG_RETURN_IF_ERROR(decide_all(ground, reader, asked));
  const uint64_t position = ground.position;
  OpenedStream opened;
  opened.opening.incarnation = incarnation.id;
  opened.opening.newest = ground.newest;
  opened.opening.position = position;
  HG_ASSIGN_OR_RETURN(const StartPoint others, start_of_others(ground));
  opened.filter = request.all_tenants ? StreamFilter::all(others) : StreamFilter::some();
  HG_ASSIGN_OR_RETURN(uint64_t first, first_xid(asked, position, reader));
  if (request.all_tenants) first = std::min(first, others.from);
  opened.place = {first == UINT64_MAX ? position : first, 0};
  for (Asked& one : asked) {
    if (one.start.ok()) {
      opened.filter.add(one.tenant, std::move(*one.start));
      if (request.notices && one.removed_below != 0) {
        opened.filter.leave_out_changes(one.tenant, one.removed_below);
        opened.removed_below = std::max(opened.removed_below, one.removed_below);
      }
      if (one.later) opened.notices.push_back(starts_later(one.tenant, one.position));
      continue;
    }
    const Status& status = one.start.status();
    opened.notices.push_back({one.tenant, false, reason_of(status), message_of(status), one.position});
    opened.filter.drop(one.tenant);
  }
  HG_RETURN_IF_ERROR(drop_collected(request, others, reader, opened));
  HG_RETURN_IF_ERROR(start_at_floors(ground, others, reader, opened));
  opened.newest = opened.opening.newest;
  if (opened.place.xid < position) {
    HG_ASSIGN_OR_RETURN(opened.newest, reader.newest_below(opened.place.xid));
  }
  const bool from_here = request.tenants.size() == 1 && !request.all_tenants && request.tenants[0].snap_token.empty();
  opened.opening.snap_token =
      from_here && !request.earliest ? start_token(ground.state) : encode_position_token(position);
  return opened;
}

}  // namespace headgate::engine
