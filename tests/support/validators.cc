#include "tests/support/validators.h"

#include <algorithm>
#include <array>
#include <map>
#include <set>
#include <tuple>

namespace headgate::testing {

namespace {

std::string text(uint64_t value) { return std::to_string(value); }

std::vector<std::string> changes_of(const TruthRow& row) {
  std::vector<std::string> all;
  for (const std::string& change : row.deletes) all.push_back("-" + change);
  for (const std::string& change : row.creates) all.push_back("+" + change);
  return all;
}

std::string check_part_order(const SeenMessage* previous, const SeenMessage& message) {
  const bool inside = previous != nullptr && previous->more_parts;
  if (inside && (message.xid != previous->xid || message.part != previous->part + 1)) {
    return "transaction " + text(previous->xid) + " was broken off by " + text(message.xid);
  }
  if (!inside && message.part != 0) return "transaction " + text(message.xid) + " does not begin with part 0";
  return "";
}

}  // namespace

std::string check_complete(const std::vector<TruthRow>& truth, const std::vector<SeenMessage>& seen,
                           const std::string& tenant, uint64_t after, uint64_t below) {
  std::vector<uint64_t> expected, found;
  for (const TruthRow& row : truth) {
    if (row.tenant == tenant && row.xid > after && row.xid < below) expected.push_back(row.xid);
  }
  std::ranges::sort(expected);
  for (const SeenMessage& message : seen) {
    if (message.tenant != tenant || message.part != 0) continue;
    if (!found.empty() && message.xid == found.back()) return "transaction " + text(message.xid) + " came twice";
    if (!found.empty() && message.xid < found.back()) {
      return "transaction " + text(message.xid) + " came behind " + text(found.back());
    }
    found.push_back(message.xid);
  }
  for (const uint64_t xid : expected) {
    if (!std::ranges::binary_search(found, xid)) return "transaction " + text(xid) + " is missing";
  }
  for (const uint64_t xid : found) {
    if (!std::ranges::binary_search(expected, xid)) return "transaction " + text(xid) + " was never committed";
  }
  return "";
}

std::string check_same(const std::vector<SeenMessage>& one, const std::vector<SeenMessage>& other) {
  const auto key = [](const SeenMessage& m) { return std::tie(m.tenant, m.xid, m.part, m.more_parts, m.bytes); };
  for (size_t i = 0; i < std::min(one.size(), other.size()); ++i) {
    if (key(one[i]) != key(other[i])) {
      return "message " + text(i) + " differs: transactions " + text(one[i].xid) + " and " + text(other[i].xid);
    }
  }
  return "";
}

std::string check_never_stalled(const std::vector<double>& waited_ms, double bound_ms) {
  for (size_t i = 0; i < waited_ms.size(); ++i) {
    if (waited_ms[i] > bound_ms) return "message " + text(i) + " came " + std::to_string(waited_ms[i]) + " ms late";
  }
  return "";
}

std::string check_refused(const std::vector<StreamEnd>& ends, const std::vector<std::string>& reasons,
                          double bound_ms) {
  constexpr int kOutOfRange = 11;
  for (size_t i = 0; i < ends.size(); ++i) {
    const StreamEnd& end = ends[i];
    const std::string name = "stream " + text(i);
    if (end.messages > 0) return name + " carried " + text(end.messages) + " messages from a wrong start";
    if (!end.ended) return name + " stays silent";
    if (end.code != kOutOfRange) return name + " ended with code " + std::to_string(end.code);
    if (std::ranges::find(reasons, end.reason) == reasons.end()) return name + " has the reason '" + end.reason + "'";
    if (end.waited_ms > bound_ms) return name + " was refused after " + std::to_string(end.waited_ms) + " ms";
  }
  return "";
}

namespace {

// Of values that should be uniform in [0, window]: that they are inside, and that no tenth holds more than half of
// them.
std::string check_spread(const std::string& what, const std::vector<double>& values, double window, double slack) {
  std::array<size_t, 10> tenths{};
  for (const double value : values) {
    if (value < 0 || value > window + slack)
      return what + " " + std::to_string(value) + " ms lies outside of the window";
    ++tenths[std::min<size_t>(9, static_cast<size_t>(value / window * 10))];
  }
  const size_t most = *std::ranges::max_element(tenths);
  if (values.size() >= 10 && most * 2 > values.size()) {
    return text(most) + " of " + text(values.size()) + " " + what + "s lie in one tenth of the window";
  }
  return "";
}

}  // namespace

std::string check_goodbyes(const std::vector<StreamEnd>& ends, double window_ms) {
  constexpr int kUnavailable = 14;
  // The last streams may be told late on a busy machine; the hints are only numbers.
  constexpr double kLate = 2'000;
  std::vector<double> waits, hints;
  for (size_t i = 0; i < ends.size(); ++i) {
    if (!ends[i].ended) return "stream " + text(i) + " was not ended";
    if (ends[i].code != kUnavailable) return "stream " + text(i) + " ended with code " + std::to_string(ends[i].code);
    if (ends[i].retry_ms < 0) return "stream " + text(i) + " got no hint when to come back";
    waits.push_back(ends[i].waited_ms);
    hints.push_back(ends[i].retry_ms);
  }
  const std::string fault = check_spread("end", waits, window_ms, kLate);
  return fault.empty() ? check_spread("hint", hints, window_ms, 0) : fault;
}

std::string check_bootstrap(const std::vector<std::string>& state, const std::vector<SeenMessage>& seen,
                            const std::vector<std::string>& state_at_end) {
  std::set<std::string> tuples(state.begin(), state.end());
  for (const SeenMessage& message : seen) {
    for (const std::string& change : message.changes) {
      if (change.find('$') != std::string::npos) continue;  // an attribute
      if (change[0] == '+') tuples.insert(change.substr(1));
      if (change[0] == '-') tuples.erase(change.substr(1));
    }
  }
  const std::set<std::string> expected(state_at_end.begin(), state_at_end.end());
  for (const std::string& tuple : expected) {
    if (!tuples.contains(tuple)) return tuple + " is neither in the state nor in the stream behind it";
  }
  for (const std::string& tuple : tuples) {
    if (!expected.contains(tuple)) return tuple + " was never taken away";
  }
  return "";
}

std::string check_atomic(const std::vector<TruthRow>& truth, const std::vector<SeenMessage>& seen) {
  std::map<uint64_t, const TruthRow*> rows;
  for (const TruthRow& row : truth) rows[row.xid] = &row;
  const SeenMessage* previous = nullptr;
  std::vector<std::string> changes;
  for (const SeenMessage& message : seen) {
    if (const std::string fault = check_part_order(previous, message); !fault.empty()) return fault;
    if (message.part == 0) changes.clear();
    changes.insert(changes.end(), message.changes.begin(), message.changes.end());
    previous = &message;
    if (message.more_parts) continue;
    const auto row = rows.find(message.xid);
    if (row == rows.end()) return "transaction " + text(message.xid) + " was never committed";
    if (changes != changes_of(*row->second)) return "transaction " + text(message.xid) + " carries other changes";
  }
  return previous != nullptr && previous->more_parts ? "the last transaction was not finished" : "";
}

}  // namespace headgate::testing
