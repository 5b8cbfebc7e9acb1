#include "engine/feed/opening.h"

#include <algorithm>

#include "engine/storage/horizon.h"

namespace headgate::engine {

namespace {

constexpr size_t kChunk = 1'000;

struct Asked {
  std::string tenant;
  std::optional<SnapToken> token;
  StatusOr<StartPoint> start = StartPoint::at(0);
};

std::vector<Asked> read_tokens(const StreamRequest& request) {
  std::vector<Asked> asked;
  for (const StreamTenant& wish : request.tenants) {
    Asked one{wish.tenant, std::nullopt};
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
  for (size_t begin = 0; begin < asked.size(); begin += kChunk) {
    std::vector<std::string> names;
    std::vector<uint64_t> xids;
    for (size_t i = begin; i < std::min(asked.size(), begin + kChunk); ++i) {
      names.push_back(asked[i].tenant);
      xids.push_back(asked[i].token ? asked[i].token->xid : 0);
    }
    HG_ASSIGN_OR_RETURN(std::vector<TenantHistory> some, reader.tenants(names, xids));
    std::ranges::move(some, std::back_inserter(all));
  }
  return all;
}

StatusOr<StartPoint> start_of(const Asked& one, bool earliest, const StartFacts& facts, HistoryReader& reader) {
  if (!one.start.ok()) return one.start.status();
  if (!one.token) return earliest ? StartPoint::at(facts.tenant.floor) : start_behind(facts.now, 0);
  HG_ASSIGN_OR_RETURN(StartPoint start, decide_start(*one.token, facts));
  if (!start.missing.empty()) {
    HG_ASSIGN_OR_RETURN(const std::vector<uint64_t> rows, reader.rows_among(one.tenant, start.missing));
    keep_rows(start, horizon_of(facts.now), rows);
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
  for (size_t begin = 0; begin < names.size(); begin += kChunk) {
    const size_t size = std::min(kChunk, names.size() - begin);
    HG_ASSIGN_OR_RETURN(const std::vector<uint64_t> next,
                        reader.next_after({names.data() + begin, size}, {after.data() + begin, size}));
    for (const uint64_t xid : next) first = std::min(first, xid == 0 ? horizon : std::min(xid, horizon));
  }
  return first;
}

bool ends_stream(const StreamRequest& request, const Status& status) {
  return !request.notices || reason_of(status).empty();
}

// Snapshot and facts, in this order: what the snapshot calls ended, the later statements see.
Status decide_all(const StreamRequest& request, const Incarnation& incarnation, HistoryReader& reader,
                  std::vector<Asked>& asked, PgSnapshot* now) {
  const bool needs_facts = request.earliest || std::ranges::any_of(asked, [](const Asked& a) { return !!a.token; });
  std::vector<TenantHistory> known(asked.size());
  if (needs_facts) {
    HG_ASSIGN_OR_RETURN(known, histories(asked, reader));
  }
  HG_ASSIGN_OR_RETURN(*now, reader.now());
  for (size_t i = 0; i < asked.size(); ++i) {
    asked[i].start = start_of(asked[i], request.earliest, {std::move(known[i]), *now, incarnation}, reader);
    if (!asked[i].start.ok() && ends_stream(request, asked[i].start.status())) return asked[i].start.status();
  }
  return ok_status();
}

// Where the tenants start that the client does not name.
StatusOr<StartPoint> start_of_others(const StreamRequest& request, const PgSnapshot& now,
                                     const Incarnation& incarnation) {
  if (request.others_token.empty()) return request.earliest ? StartPoint::at(0) : start_behind(now, 0);
  HG_ASSIGN_OR_RETURN(const SnapToken token, read_token(request.others_token));
  if (!token.is_position()) {
    return refusal(StatusCode::kInvalidArgument, kMalformedToken,
                   "the token for all other tenants must name a position; take it from a heartbeat of this feed");
  }
  return decide_start(token, {{}, now, incarnation});
}

// Unnamed tenants whose history behind `start` was collected: they fail by name, never silently.
Status drop_collected(const StreamRequest& request, const StartPoint& start, HistoryReader& reader,
                      OpenedStream& opened) {
  if (!request.all_tenants || request.others_token.empty()) return ok_status();
  HG_ASSIGN_OR_RETURN(const std::vector<TenantFloor> collected, reader.collected_behind(start.from));
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
  if (!request.incarnation.empty() && request.incarnation != incarnation.id) {
    return refusal(StatusCode::kOutOfRange, kOtherIncarnation,
                   "the database's history is another one than the client's; read the current state and start anew");
  }
  std::vector<Asked> asked = read_tokens(request);
  PgSnapshot now;
  HG_RETURN_IF_ERROR(decide_all(request, incarnation, reader, asked, &now));
  const uint64_t horizon = horizon_of(now);
  OpenedStream opened;
  HG_ASSIGN_OR_RETURN(const StartPoint others, start_of_others(request, now, incarnation));
  opened.filter = request.all_tenants ? StreamFilter::all(others) : StreamFilter::some();
  HG_ASSIGN_OR_RETURN(uint64_t first, first_xid(asked, horizon, reader));
  if (request.all_tenants) first = std::min(first, others.from);
  opened.place = {first == UINT64_MAX ? horizon : first, 0};
  for (Asked& one : asked) {
    if (one.start.ok()) {
      opened.filter.add(one.tenant, std::move(*one.start));
      continue;
    }
    const Status& status = one.start.status();
    opened.notices.push_back({one.tenant, false, reason_of(status), message_of(status)});
    opened.filter.drop(one.tenant);
  }
  HG_RETURN_IF_ERROR(drop_collected(request, others, reader, opened));
  const bool from_here = request.tenants.size() == 1 && !request.all_tenants && request.tenants[0].snap_token.empty();
  opened.opening = {incarnation.id, horizon,
                    from_here && !request.earliest ? start_token(now) : encode_position_token(horizon)};
  return opened;
}

}  // namespace headgate::engine
