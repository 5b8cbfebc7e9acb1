#include "tests/robustness/copy.h"

#include <fmt/ranges.h>

#include <stdexcept>

#include "base/snap_token.h"

namespace headgate::testing {

namespace {

const char* const kBegin = "dev.headgate.feed.snapshot-begin.v1";
const char* const kPage = "dev.headgate.feed.snapshot-page.v1";
const char* const kEnd = "dev.headgate.feed.snapshot-end.v1";
const char* const kRemoved = "dev.headgate.tenant.removed.v1";

bool is_relationship(const std::string& text) { return text.find('$') == std::string::npos; }

}  // namespace

std::string Copy::apply(const Received& event) {
  if (const auto known = ids_.find(event.id); known != ids_.end()) {
    if (known->second == event.sequence && repeats_) return "";
    // A sink that lost events gets them again under new numbers.
    if (known->second == event.sequence) return event.id + " came twice";
  }
  const bool jumps = event.is_gap() && event.sequence > sequence_;
  if (sequence_ != 0 && event.sequence != sequence_ + 1 && !jumps) {
    return fmt::format("{} has number {} behind {}", event.id, event.sequence, sequence_);
  }
  // Such a GAP is behind what the sink still has, not behind what it has told.
  const bool lost = event.is_gap() && event.reason == "SINK_LOST_EVENTS";
  if (sequence_ != 0 && event.sequence == sequence_ + 1 && event.previous_token != token_ && !lost) {
    return fmt::format("{} names {} as its predecessor, and {} has {}", event.id, event.previous_token, last_id_,
                       token_);
  }
  ids_[event.id] = event.sequence;
  trail_.push_back(fmt::format(" {}#{}{}", event.id, event.sequence, fmt::join(texts_of(event.changes), ",")));
  if (trail_.size() > 12) trail_.pop_front();
  last_id_ = event.id;
  last_xid_ = event.xid;
  sequence_ = event.sequence;
  if (!event.token.empty()) token_ = event.token;
  if (event.is_gap()) {
    // What was lost comes again, so the copy is right in the end when it was right before.
    if (certain_ || !lost) gap_ = event.reason;
    certain_ = false;
    in_snapshot_ = false;
  } else if (event.type == kBegin) {
    rows_.clear();
    in_snapshot_ = true;
  } else if (event.type == kEnd) {
    if (!in_snapshot_) return event.id + " ends no snapshot";
    in_snapshot_ = false;
    certain_ = true;
  } else if (event.type == kRemoved) {
    rows_.clear();
    in_snapshot_ = false;
    certain_ = true;
  } else if (event.has_changes()) {
    if (in_snapshot_ != (event.type == kPage)) return event.id + " stands on the wrong side of a snapshot's mark";
    return change(event);
  }
  return "";
}

std::string Copy::trail() const {
  std::string text;
  for (const std::string& event : trail_) text += event;
  return text;
}

std::string Copy::change(const Received& event) {
  for (const std::string& text : texts_of(event.changes)) {
    if (!is_relationship(text)) continue;
    if (text[0] == '+') {
      rows_.insert(text.substr(1));
    } else if (rows_.erase(text.substr(1)) == 0 && certain_) {
      return event.id + " deletes what was not there: " + text;
    }
  }
  return "";
}

std::vector<Watermark> watermarks(const std::vector<Received>& received, bool repeats, size_t of_each_tenant) {
  std::map<std::string, Copy> copies;
  std::map<std::string, std::deque<Watermark>> found;
  for (const Received& event : received) {
    Copy& copy = copies.try_emplace(event.tenant, repeats).first->second;
    if (!event.is_heartbeat()) {
      copy.apply(event);
      // A life that is over cannot be read any more.
      if (event.type == kRemoved) found[event.tenant].clear();
      continue;
    }
    const auto position = decode_snap_token(event.token);
    const bool complete = position.ok() && copy.last_xid() <= position->xid && event.previous_token == copy.token();
    if (!complete || !copy.certain() || copy.in_snapshot()) continue;
    std::deque<Watermark>& kept = found[event.tenant];
    kept.push_back({event.tenant, event.token, copy.rows()});
    if (kept.size() > of_each_tenant) kept.pop_front();
  }
  std::vector<Watermark> all;
  for (auto& [tenant, kept] : found) all.insert(all.end(), kept.begin(), kept.end());
  return all;
}

std::string check_watermarks(const std::vector<Watermark>& watermarks, EngineClient& client, int& compared) {
  for (const Watermark& mark : watermarks) {
    std::vector<std::string> there;
    try {
      there = client.tuples_at(mark.tenant, mark.token);
    } catch (const std::runtime_error&) {
      continue;  // collected since
    }
    ++compared;
    if (std::set<std::string>(there.begin(), there.end()) == mark.rows) continue;
    return fmt::format("{} at {}: the copy has {} rows, the database had {}", mark.tenant, mark.token, mark.rows.size(),
                       there.size());
  }
  return "";
}

std::string check_copies(const std::vector<Received>& received, bool repeats, const std::set<std::string>& tenants,
                         EngineClient& client) {
  std::map<std::string, Copy> copies;
  for (const Received& event : received) {
    if (event.is_heartbeat()) continue;
    Copy& copy = copies.try_emplace(event.tenant, repeats).first->second;
    if (const std::string fault = copy.apply(event); !fault.empty()) return fault + "; before it" + copy.trail();
  }
  for (const auto& [tenant, copy] : copies) {
    if (copy.in_snapshot()) return tenant + ": a snapshot has no end";
    const bool repeated = !copy.certain() && copy.last_gap() == "SINK_LOST_EVENTS";
    if (!copy.certain() && !repeated && copy.last_gap() != "EVENT_REFUSED") {
      return tenant + ": nothing followed the GAP " + copy.last_gap();
    }
    if (!tenants.contains(tenant) && !copy.rows().empty()) return tenant + " was deleted and the copy does not know";
    if (!tenants.contains(tenant) || (!copy.certain() && !repeated)) continue;
    const std::vector<std::string> there = client.tuples_at(tenant, "");
    if (std::set<std::string>(there.begin(), there.end()) != copy.rows()) {
      return fmt::format("{}: the copy has {} rows, the database {}", tenant, copy.rows().size(), there.size());
    }
  }
  for (const std::string& tenant : tenants) {
    if (!copies.contains(tenant)) return tenant + " never arrived";
  }
  return "";
}

std::string check_rising(const std::vector<Received>& received) {
  std::map<std::string, std::map<uint64_t, std::string>> numbers;
  for (const Received& event : received) {
    if (event.is_heartbeat()) continue;
    std::map<uint64_t, std::string>& known = numbers[event.tenant];
    const uint64_t highest = known.empty() ? 0 : known.rbegin()->first;
    const auto [at, fresh] = known.emplace(event.sequence, event.id);
    if (fresh ? event.sequence < highest : at->second != event.id) {
      return fmt::format("{} has number {} behind {} ({})", event.id, event.sequence, highest, at->second);
    }
  }
  return "";
}

}  // namespace headgate::testing
