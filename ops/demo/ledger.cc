#include "ops/demo/ledger.h"

#include <algorithm>
#include <charconv>

namespace headgate::demo {

Ledger::Ledger(std::vector<std::string> sinks) : sinks_(std::move(sinks)) {
  for (const std::string& sink : sinks_) columns_[sink];
}

void Ledger::wrote(const Transaction& transaction) {
  MutexLock lock(mutex_);
  written_[{transaction.tenant, transaction.xid}] = transaction;
  changed_.notify_all();
}

bool Ledger::parse_id(const std::string& id, Key& key) {
  const size_t second = id.rfind('/');
  if (second == std::string::npos || second == 0) return false;
  const size_t first = id.rfind('/', second - 1);
  if (first == std::string::npos) return false;
  key.tenant = id.substr(0, first);
  const char* end = id.data() + second;
  const auto [stopped, error] = std::from_chars(id.data() + first + 1, end, key.xid);
  return error == std::errc() && stopped == end;
}

void Ledger::arrived(const std::string& sink, const Arrival& arrival) {
  MutexLock lock(mutex_);
  Column& column = columns_.at(sink);
  Key key;
  if (!parse_id(arrival.id, key)) {
    ++column.malformed;
    return;
  }
  Seen& seen = column.seen[key];
  if (++seen.times == 1) {
    seen.first = arrival;
    uint64_t& newest = column.newest[key.tenant];
    if (key.xid < newest) ++column.disordered;
    newest = std::max(newest, key.xid);
  }
  changed_.notify_all();
}

bool Ledger::complete_locked() const {
  return std::all_of(columns_.begin(), columns_.end(), [&](const auto& column) REQUIRES_LOCK(mutex_) {
    return std::all_of(written_.begin(), written_.end(),
                       [&](const auto& entry) { return column.second.seen.contains(entry.first); });
  });
}

bool Ledger::wait_until_complete(std::chrono::milliseconds timeout, std::stop_token stop) {
  MutexLock lock(mutex_);
  return changed_.wait_for(mutex_, stop, timeout, [&]() REQUIRES_LOCK(mutex_) { return complete_locked(); });
}

std::map<std::string, int64_t> Ledger::latencies(const std::string& tenant, uint64_t xid) const {
  MutexLock lock(mutex_);
  std::map<std::string, int64_t> result;
  const auto transaction = written_.find({tenant, xid});
  for (const auto& [sink, column] : columns_) {
    const auto seen = column.seen.find({tenant, xid});
    const bool known = seen != column.seen.end() && transaction != written_.end();
    result[sink] = known ? seen->second.first.at_us - transaction->second.sent_at_us : -1;
  }
  return result;
}

Verdict Ledger::verdict_locked(const std::string& sink, const Column& column) const {
  Verdict verdict{.sink = sink};
  verdict.disordered = column.disordered;
  verdict.wrong = column.malformed;
  std::vector<int64_t> latencies;
  for (const auto& [key, seen] : column.seen) {
    verdict.repeated += seen.times - 1;
    const auto transaction = written_.find(key);
    if (transaction == written_.end()) {
      ++verdict.wrong;
      continue;
    }
    ++verdict.arrived;
    const Transaction& wanted = transaction->second;
    if (seen.first.changes != wanted.changes) ++verdict.wrong;
    if (wanted.timed) latencies.push_back(seen.first.at_us - wanted.sent_at_us);
  }
  verdict.missing = written_.size() - verdict.arrived;
  if (!latencies.empty()) {
    std::sort(latencies.begin(), latencies.end());
    verdict.median_us = latencies[latencies.size() / 2];
    verdict.slowest_us = latencies.back();
  }
  return verdict;
}

std::vector<Verdict> Ledger::verdicts() const {
  MutexLock lock(mutex_);
  std::vector<Verdict> result;
  for (const std::string& sink : sinks_) result.push_back(verdict_locked(sink, columns_.at(sink)));
  return result;
}

size_t Ledger::written() const {
  MutexLock lock(mutex_);
  return written_.size();
}

}  // namespace headgate::demo
