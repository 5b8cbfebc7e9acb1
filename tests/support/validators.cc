#include "tests/support/validators.h"

#include <algorithm>
#include <map>
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
