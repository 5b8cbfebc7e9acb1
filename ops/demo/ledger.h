// What was written and what arrived where: the judge of the quickstart.
//
// Thread-safe: the writer and one thread of each subscriber call it. It knows nothing of gRPC or of any sink's client.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <set>
#include <stop_token>
#include <string>
#include <vector>

#include "base/mutex.h"

namespace headgate::demo {

// One transaction. `changes` are texts like "+document:a#viewer@user:ann", in any order.
struct Transaction {
  std::string tenant;
  uint64_t xid = 0;
  std::string token;
  std::string title;
  std::multiset<std::string> changes;
  int64_t sent_at_us = 0;  // when the writing call began
  bool timed = false;      // counts for the times in the verdict
};

// One event as a subscriber saw it.
struct Arrival {
  std::string id;  // "<tenant>/<xid>/<part>"
  std::string token;
  std::multiset<std::string> changes;
  int64_t at_us = 0;
};

struct Verdict {
  std::string sink;
  size_t arrived = 0;  // different transactions
  size_t missing = 0;
  size_t repeated = 0;
  size_t disordered = 0;  // behind a later one of its tenant, repeats not counted
  size_t wrong = 0;       // another content or token than what was written, or never written at all
  int64_t median_us = 0;
  int64_t slowest_us = 0;

  bool clean() const { return missing == 0 && repeated == 0 && disordered == 0 && wrong == 0; }
};

class Ledger {
 public:
  explicit Ledger(std::vector<std::string> sinks);

  void wrote(const Transaction& transaction);
  void arrived(const std::string& sink, const Arrival& arrival);

  // Blocks until all that was written has arrived at every sink; false at the time-out.
  bool wait_until_complete(std::chrono::milliseconds timeout, std::stop_token stop);
  // Microseconds from the writing call to the arrival at each sink; -1 where it has not arrived.
  std::map<std::string, int64_t> latencies(const std::string& tenant, uint64_t xid) const;

  std::vector<Verdict> verdicts() const;
  size_t written() const;

 private:
  struct Key {
    std::string tenant;
    uint64_t xid = 0;
    auto operator<=>(const Key&) const = default;
  };
  struct Seen {
    Arrival first;
    size_t times = 0;
  };
  struct Column {
    std::map<Key, Seen> seen;
    std::map<std::string, uint64_t> newest;  // by tenant
    size_t disordered = 0;
    size_t malformed = 0;
  };

  static bool parse_id(const std::string& id, Key& key);
  bool complete_locked() const REQUIRES_LOCK(mutex_);
  Verdict verdict_locked(const std::string& sink, const Column& column) const REQUIRES_LOCK(mutex_);

  mutable Mutex mutex_;
  Condition changed_;
  std::map<Key, Transaction> written_ GUARDED_BY(mutex_);
  std::map<std::string, Column> columns_ GUARDED_BY(mutex_);
  std::vector<std::string> sinks_ GUARDED_BY(mutex_);
};

}  // namespace headgate::demo
