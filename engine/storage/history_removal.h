// The statements of the collector, on a connection of its own; engine/gc decides what is done when.
//
// Calls block and are not thread-safe. UNAVAILABLE when the database is away; the object is then of no use any more.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/postgres/connect.h"
#include "base/socket_watchdog.h"
#include "base/status.h"

namespace headgate::engine {

enum class RemovableRows { kTuples, kAttributes, kTransactions };

class HistoryRemoval {
 public:
  // `uri` as in PoolSettings.
  static StatusOr<std::unique_ptr<HistoryRemoval>> open(const std::string& uri, std::stop_token stop);

  // For `lifetime`, nothing from the position of each tenant on is removed by anybody; the empty name stands for all
  // tenants. Holds whose time is over go away.
  Status publish_holds(const std::string& holder, Duration lifetime, const std::map<std::string, uint64_t>& holds);
  // False when another process has the lock. It is given back with the connection.
  StatusOr<bool> lock();
  // Every tenant with transactions, registered or not.
  StatusOr<std::vector<std::string>> tenants();
  // Records the newest xid that is older than `window`, below everything in progress and not above a hold, and returns
  // the floor in force, which never falls. Nothing when there is no such xid.
  StatusOr<std::optional<std::string>> raise_floor(const std::string& tenant, Duration window);
  // One batch of rows that ended below the floor, in a transaction of its own; returns how many.
  StatusOr<uint64_t> remove(RemovableRows rows, const std::string& tenant, const std::string& floor, int batch);
  // One batch of life events of any tenant that are older than `window`, below every hold, not needed to explain what
  // is left of the tenant's history, and not the newest of their kind; returns how many.
  StatusOr<uint64_t> remove_lives(Duration window, int batch);

 private:
  explicit HistoryRemoval(std::unique_ptr<PgConnection> connection)
      : owned_(std::move(connection)), connection_(*owned_) {}

  const std::unique_ptr<PgConnection> owned_;
  PgConnection& connection_;
  SocketWatchdog watchdog_;
};

}  // namespace headgate::engine
