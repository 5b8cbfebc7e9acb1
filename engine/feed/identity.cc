#include "engine/feed/identity.h"

#include <algorithm>

#include "base/guard.h"
#include "base/log.h"

namespace headgate::engine {

namespace {

constexpr size_t kComparedAtOnce = 1'000;

}  // namespace

uint64_t durable_position(const TransactionIdentity& newest, const Incarnation& incarnation, uint64_t horizon) {
  // Tokens below the first xid of an incarnation are refused, also those of streams that have seen nothing yet.
  return std::min(horizon, std::max<uint64_t>({newest.xid + 1, incarnation.first_xid, 1}));
}

StatusOr<HistorySight> look_at_history(HistoryReader& reader) {
  HistorySight sight;
  HG_ASSIGN_OR_RETURN(sight.incarnation, reader.incarnation());
  HG_ASSIGN_OR_RETURN(sight.horizon, reader.horizon());
  HG_ASSIGN_OR_RETURN(sight.newest, reader.newest_below(sight.horizon));
  sight.begin = durable_position(sight.newest, sight.incarnation, sight.horizon);
  return sight;
}

StatusOr<std::vector<bool>> all_of(HistoryReader& reader, std::span<const TransactionIdentity> seen) {
  std::vector<bool> answers(seen.size(), true);
  std::vector<TransactionIdentity> asked;
  std::vector<size_t> places;
  for (size_t i = 0; i < seen.size(); ++i) {
    if (seen[i].xid != 0) {
      asked.push_back(seen[i]);
      places.push_back(i);
    }
    if (asked.empty() || (asked.size() < kComparedAtOnce && i + 1 < seen.size())) continue;
    HG_ASSIGN_OR_RETURN(const std::vector<bool> some, reader.intact(asked));
    for (size_t k = 0; k < some.size(); ++k) answers[places[k]] = some[k];
    asked.clear();
    places.clear();
  }
  return answers;
}

StatusOr<bool> all_intact(HistoryReader& reader, std::span<const TransactionIdentity> seen) {
  HG_ASSIGN_OR_RETURN(const std::vector<bool> answers, all_of(reader, seen));
  return std::ranges::find(answers, false) == answers.end();
}

StatusOr<bool> is_kept(HistoryReader& reader, const KeptHistory& kept) {
  HG_ASSIGN_OR_RETURN(const bool same, all_intact(reader, kept.newest));
  if (!same) {
    log_error("history_replaced", {{"newest_seen", kept.newest.empty() ? 0 : kept.newest.front().xid}});
    return false;
  }
  // More than there were: xids that had left nothing behind were handed out again in front of what was seen.
  HG_ASSIGN_OR_RETURN(const uint64_t rows, reader.count(kept.range));
  if (rows <= kept.transactions || !guarded(Guard::kRingRecount)) return true;
  log_error("history_replaced", {{"rows", rows}, {"known", kept.transactions}, {"below", kept.range.to}});
  return false;
}

}  // namespace headgate::engine
