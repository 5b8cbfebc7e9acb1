// Removes history that nobody can ask for any more: rows that expired, and transactions, below a floor per tenant.
//
// The floor is the newest transaction of the tenant that is older than the window, lies below every transaction in
// progress, and is not newer than any token still in use (GcHolds of every process). It is written to
// headgate.gc_floors before rows are removed, so that readers and Watch refuse older tokens instead of answering from
// what is left. The transaction at the floor stays, so a tenant never loses its head.
//
// One collector at a time in the whole fleet (an advisory lock); every process may run one. Batches are small and
// commit on their own, so a collection can be stopped and killed at any point.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <stop_token>
#include <string>
#include <thread>

#include "base/clock.h"
#include "base/status.h"

namespace headgate::engine {

class HistoryRemoval;

struct GcSettings {
  std::string uri;             // as in PoolSettings
  bool collect = true;         // false: only publishes this process's holds for the collectors of others
  Duration interval{180'000};  // also how often the holds of this process are published
  Duration window{30LL * 24 * 3600 * 1000};
  int batch = 5000;          // rows removed by one statement
  Duration batch_pause{20};  // between two batches, to leave the disk to others
  std::string holder;        // name of this process among the holds, for example the pod's
  // Told when the server has no place for another connection; may be empty.
  std::function<void(const Status&)> on_refused;
};

// Per tenant the lowest xid of a token that somebody still reads from: a live Watch stream, or a cursor a relay told
// of. The empty name stands for all tenants. Called on the collector's thread.
using GcHolds = std::function<std::map<std::string, uint64_t>()>;

struct GcReport {
  bool elsewhere = false;  // another process is collecting; nothing was done
  uint64_t tenants = 0;    // with something removed
  uint64_t tuples = 0;
  uint64_t attributes = 0;
  uint64_t transactions = 0;
  uint64_t lives = 0;  // events of tenants' lives
};

class Collector {
 public:
  // `clock` outlives this. Nothing happens before start() or collect_once().
  Collector(GcSettings settings, GcHolds holds, Clock& clock = system_clock());
  // Stops the thread and waits for its current batch.
  ~Collector();
  Collector(const Collector&) = delete;
  Collector& operator=(const Collector&) = delete;

  // Collects every interval on a thread of its own; failures are logged and tried again. Call once.
  void start();

  // Publishes the holds and collects, on the calling thread. UNAVAILABLE when the database is away.
  StatusOr<GcReport> collect_once(std::stop_token stop = {});

 private:
  void run(std::stop_token stop);
  StatusOr<std::unique_ptr<HistoryRemoval>> open(std::stop_token stop);
  // Batches until one is not full.
  Status remove_all(const std::function<StatusOr<uint64_t>()>& remove, std::stop_token stop, uint64_t& removed);
  Status collect_tenant(HistoryRemoval& history, const std::string& tenant, std::stop_token stop, GcReport& report);

  const GcSettings settings_;
  const GcHolds holds_;
  Clock& clock_;
  std::jthread thread_;  // last: it uses everything above
};

}  // namespace headgate::engine
