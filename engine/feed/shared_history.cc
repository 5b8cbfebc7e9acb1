#include "engine/feed/shared_history.h"

#include <algorithm>

#include "base/log.h"
#include "engine/storage/horizon.h"

namespace headgate::engine {

namespace {

Status not_replayed() {
  return refusal(StatusCode::kUnavailable, kFutureToken,
                 "this standby has not replayed the client's last transaction yet; try again, or ask the primary");
}

Status replaced(std::string_view why) {
  return refusal(StatusCode::kOutOfRange, kHistoryReplaced,
                 fmt::format("the database's history is not the one that the client has: {}; ask again with the last "
                             "transaction of every tenant and without a default position",
                             why));
}

// Whose transaction it is, is left out for the tenant's own.
TransactionIdentity last_of(const StreamTenant& wish) {
  TransactionIdentity last = wish.last;
  if (last.tenant.empty()) last.tenant = wish.tenant;
  return last;
}

// What is gone may have gone with a tenant that another program removed a moment ago. True when one such was found.
StatusOr<bool> record_removals(HistoryReader& reader, const std::vector<TransactionIdentity>& seen,
                               const std::vector<bool>& intact) {
  bool found = false;
  for (size_t i = 0; i < seen.size(); ++i) {
    if (intact[i] || seen[i].tenant.empty()) continue;
    HG_ASSIGN_OR_RETURN(const bool recorded, reader.record_missed_life(seen[i].tenant));
    found |= recorded;
  }
  return found;
}

// Nothing stands between the client's last transaction and its position, and the database has come to it.
Status check_position(const StreamRequest& request, uint64_t position, const Incarnation& incarnation,
                      HistoryReader& reader) {
  HG_ASSIGN_OR_RETURN(const PgSnapshot now, reader.now());
  if (horizon_of(now) < position) {
    return incarnation.standby ? not_replayed() : replaced("it has not come to the client's position");
  }
  HG_ASSIGN_OR_RETURN(const TransactionIdentity newest, reader.newest_below(position));
  if (newest.xid <= request.others_last.xid) return ok_status();
  log_warn("history_replaced_for_client", {{"last", request.others_last.xid}, {"found", newest.xid}});
  return replaced("transactions stand in front of its position that it does not know");
}

// Takes the recent transactions off the end of `shared.intact`: one that is gone concerns its tenant. True when that is
// one which the client does not name.
bool judge_recent(const StreamRequest& request, SharedHistory& shared) {
  const size_t begin = shared.intact.size() - request.recent.size();
  bool of_others = false;
  for (size_t i = 0; i < request.recent.size(); ++i) {
    const TransactionIdentity& recent = request.recent[i];
    if (shared.intact[begin + i]) continue;
    log_warn("history_replaced_for_client", {{"tenant", recent.tenant}, {"lost", recent.xid}});
    const auto named = std::ranges::find(request.tenants, recent.tenant, &StreamTenant::tenant);
    if (named == request.tenants.end()) {
      of_others = true;
    } else {
      shared.intact[static_cast<size_t>(named - request.tenants.begin())] = false;
    }
  }
  shared.intact.resize(begin);
  return of_others;
}

}  // namespace

StatusOr<SharedHistory> compare_histories(const StreamRequest& request, const Incarnation& incarnation,
                                          HistoryReader& reader) {
  std::vector<TransactionIdentity> seen;
  for (const StreamTenant& wish : request.tenants) seen.push_back(last_of(wish));
  const bool has_position = request.all_tenants && !request.others_token.empty();
  if (has_position) seen.push_back(request.others_last);
  SharedHistory shared;
  shared.asked = std::ranges::any_of(seen, [](const TransactionIdentity& one) { return one.xid != 0; });
  shared.intact.assign(seen.size(), true);
  if (!shared.asked) return shared;
  std::ranges::copy(request.recent, std::back_inserter(seen));
  if (incarnation.standby) {
    HG_ASSIGN_OR_RETURN(const PgSnapshot now, reader.now());
    if (std::ranges::any_of(seen, [&](const TransactionIdentity& one) { return one.xid >= now.xmax; })) {
      return not_replayed();
    }
  }
  HG_ASSIGN_OR_RETURN(shared.intact, all_of(reader, seen));
  HG_ASSIGN_OR_RETURN(const bool explained, record_removals(reader, seen, shared.intact));
  if (explained) {
    HG_ASSIGN_OR_RETURN(shared.intact, all_of(reader, seen));
  }
  const bool others_lost = judge_recent(request, shared);
  for (size_t i = 0; i < shared.intact.size(); ++i) {
    const bool ahead = i < request.tenants.size() && request.tenants[i].ahead;
    if (shared.intact[i] && !ahead) shared.newest = std::max(shared.newest, seen[i].xid);
  }
  if (!has_position || request.others_last.xid == 0) return shared;
  if (!shared.intact.back()) return replaced("its last transaction is not there any more");
  if (others_lost) return replaced("one of its recent transactions is not there any more");
  HG_ASSIGN_OR_RETURN(const SnapToken token, read_token(request.others_token));
  HG_RETURN_IF_ERROR(check_position(request, token.xid + 1, incarnation, reader));
  shared.others_named = true;
  return shared;
}

}  // namespace headgate::engine
