#include "tests/support/delivery.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/snap_token.h"
#include "tests/support/engine_client.h"

namespace headgate::testing {

namespace pb = ::base::v1;

std::vector<TruthRow> rows_of(const Truth& truth) {
  std::vector<TruthRow> rows;
  for (const auto& [tenant, transactions] : truth) {
    for (const TrueTransaction& transaction : transactions) {
      TruthRow row{tenant, transaction.xid, {}, {}};
      for (const pb::DataChange& change : transaction.changes) {
        const bool is_delete = change.operation() == pb::DataChange::OPERATION_DELETE;
        (is_delete ? row.deletes : row.creates).push_back(text_of(change).substr(1));
      }
      rows.push_back(std::move(row));
    }
  }
  return rows;
}

uint64_t xid_of_token(const std::string& token) {
  const auto decoded = decode_snap_token(token);
  return decoded.ok() ? decoded->xid : 0;
}

SeenMessage seen(const std::string& tenant, const pb::DataChanges& message) {
  SeenMessage seen{
      tenant, xid_of_token(message.snap_token()), 0, false, texts_of(message), message.SerializeAsString()};
  // A part that is not the last carries the position in front of its transaction.
  const auto token = decode_snap_token(message.snap_token());
  seen.more_parts = token.ok() && token->is_position() && message.data_changes_size() > 0;
  if (seen.more_parts) ++seen.xid;
  return seen;
}

std::vector<SeenMessage> seen(const std::string& tenant, const std::vector<pb::DataChanges>& messages) {
  std::vector<SeenMessage> all;
  for (const pb::DataChanges& message : messages) {
    SeenMessage next = seen(tenant, message);
    if (!all.empty() && all.back().more_parts && all.back().xid == next.xid) next.part = all.back().part + 1;
    all.push_back(std::move(next));
  }
  return all;
}

std::vector<SeenMessage> seen(const std::string& tenant, const std::vector<Received>& events) {
  std::vector<SeenMessage> all;
  for (const Received& event : events) {
    if (event.tenant != tenant || !event.is_changes()) continue;
    SeenMessage message = seen(tenant, event.changes);
    message.xid = event.xid;
    message.part = event.part;
    message.more_parts = event.more_parts;
    all.push_back(std::move(message));
  }
  return all;
}

size_t count_behind(const Truth& truth, const std::string& tenant, const std::string& token) {
  const uint64_t after = token.empty() ? 0 : xid_of_token(token);
  const auto& transactions = truth.at(tenant);
  return static_cast<size_t>(std::ranges::count_if(transactions, [&](const auto& t) { return t.xid > after; }));
}

std::string check_stream(const Truth& truth, const std::string& tenant, const std::string& token,
                         const std::vector<pb::DataChanges>& messages) {
  const std::vector<TruthRow> rows = rows_of(truth);
  const std::vector<SeenMessage> history = seen(tenant, messages);
  const std::string fault = check_complete(rows, history, tenant, token.empty() ? 0 : xid_of_token(token));
  return fault.empty() ? check_atomic(rows, history) : fault;
}

namespace {

using Known = std::map<std::string, const Received*>;

// A GAP tells that the sink has lost what lies behind the gap's place: all of that comes again, and it may be that its
// number is far from the one before it, because those between are lost. What the gap says must fit to what is there.
std::string take_losses(const Received& gap, Known& known, std::vector<Received>& unique) {
  if (!unique.empty() && gap.sequence <= unique.back().sequence) return gap.id + " has a number that was given before";
  const auto is_lost = [&](const Received& event) {
    return !event.is_gap() && std::pair(event.xid, event.part) > std::pair(gap.xid, gap.part);
  };
  for (const Received& event : unique) {
    if (is_lost(event)) known.erase(event.id);
  }
  std::erase_if(unique, is_lost);
  const auto last =
      std::ranges::find_if(unique.rbegin(), unique.rend(), [](const auto& event) { return !event.is_gap(); });
  const std::string held = last == unique.rend() ? "" : last->token;
  if (gap.previous_token != held) return gap.id + ": the previous token is not the one of what the sink still holds";
  unique.push_back(gap);
  return "";
}

// Of one tenant: repeats taken out, sequences and tokens judged.
std::string take_apart(const std::vector<const Received*>& events, Repeats repeats, const std::set<std::string>& gaps,
                       std::vector<Received>& unique) {
  Known known;
  for (const Received* event : events) {
    const auto [it, fresh] = known.emplace(event->id, event);
    const Received& first = *it->second;
    if (!fresh && repeats == Repeats::kNone) return event->id + " came twice";
    if (!fresh && (first.sequence != event->sequence || first.previous_token != event->previous_token ||
                   first.changes.SerializeAsString() != event->changes.SerializeAsString())) {
      return event->id + " came again and was another event";
    }
    if (!fresh) continue;
    const bool lost = event->reason == "SINK_LOST_EVENTS" && gaps.contains(event->reason);
    if (event->is_gap() && (lost || event->reason == "RELAY_INTERRUPTED")) {
      if (std::string fault = take_losses(*event, known, unique); !fault.empty()) return fault;
      continue;
    }
    const Received* before = unique.empty() ? nullptr : &unique.back();
    // A sink that cannot tell what it was sent before begins with the time.
    if (before == nullptr ? event->sequence == 0 : event->sequence != before->sequence + 1) {
      return fmt::format("{} has sequence {} behind {}", event->id, event->sequence,
                         before == nullptr ? 0 : before->sequence);
    }
    const bool is_start = before == nullptr && event->reason == "STARTED_AT_HEAD";
    if (event->is_gap() && !is_start && !gaps.contains(event->reason)) {
      return event->id + " is a GAP: " + event->reason;
    }
    if (event->previous_token != (before == nullptr ? "" : before->token)) {
      return event->id + ": the previous token is not the one of the event before it";
    }
    if (event->is_changes() && event->token != event->changes.snap_token()) return event->id + " has two tokens";
    unique.push_back(*event);
  }
  return "";
}

}  // namespace

std::string check_sink(const Truth& truth, const std::vector<Received>& received, Repeats repeats,
                       const std::set<std::string>& gaps) {
  const std::vector<TruthRow> rows = rows_of(truth);
  std::map<std::string, std::vector<const Received*>> by_tenant;
  for (const Received& event : received) {
    if (event.is_heartbeat()) continue;
    if (!event.is_changes() && !event.is_life() && !event.is_gap()) return event.id + " is a " + event.type;
    if (!truth.contains(event.tenant)) return event.id + ": there is no such tenant";
    by_tenant[event.tenant].push_back(&event);
  }
  for (const auto& [tenant, transactions] : truth) {
    std::vector<Received> unique;
    std::string fault = take_apart(by_tenant[tenant], repeats, gaps, unique);
    std::erase_if(unique, [](const Received& event) { return !event.is_changes(); });
    const std::vector<SeenMessage> history = seen(tenant, unique);
    if (fault.empty()) fault = check_complete(rows, history, tenant, 0);
    if (fault.empty()) fault = check_atomic(rows, history);
    if (!fault.empty()) return tenant + ": " + fault;
  }
  return "";
}

RepeatCount count_repeats(const std::vector<Received>& received) {
  RepeatCount count;
  std::map<std::string, size_t> place;        // of an event within its tenant
  std::map<std::string, size_t> tenant_size;  // events so far
  for (const Received& event : received) {
    const size_t now = tenant_size[event.tenant]++;
    const auto [it, fresh] = place.emplace(event.id, now);
    if (fresh) continue;
    ++count.events;
    count.longest_way = std::max(count.longest_way, now - it->second);
    it->second = now;
  }
  return count;
}

}  // namespace headgate::testing
