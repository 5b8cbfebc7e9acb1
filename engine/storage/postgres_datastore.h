// The Datastore over Permify's tables. REQUIRES: migrate_database() or check_database() succeeded for this database.
#pragma once

#include <memory>

#include "base/backoff.h"
#include "engine/storage/datastore.h"
#include "engine/storage/pool.h"
#include "engine/storage/write_lane.h"

namespace headgate::engine {

struct DatastoreSettings {
  // A write is attempted this many times after its first failure, with a pause of up to `retry_pause` between.
  int retries_max = 10;
  BackoffSettings retry_pause{.initial = Duration(20), .max = Duration(640)};
  // After a connection broke during COMMIT: how long to look for the outcome before giving it up as unknown.
  Duration outcome_timeout{10'000};
  // Where reads go; empty means the pool of the writes. May be a standby: tokens it has not replayed are refused with
  // UNAVAILABLE, never answered from the past.
  std::shared_ptr<Pool> read_pool;
  WriteLaneSettings lane;
  // Rows of one deletion; more are refused before anything is locked.
  size_t deletion_rows_max = 500'000;
};

StatusOr<Datastore> make_postgres_datastore(std::shared_ptr<Pool> pool, DatastoreSettings settings = {});

}  // namespace headgate::engine
