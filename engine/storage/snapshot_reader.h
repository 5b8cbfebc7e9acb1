// A tenant's whole state at a position, in pages: tuples, then attributes, each in the order of their unique index.
//
// What a page holds follows from the position and from where it begins alone, so a page that was lost can be read
// again. Blocks on a connection of the pool; thread-safe.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "engine/storage/history.h"
#include "engine/storage/pool.h"

namespace headgate::engine {

struct SnapshotQuery {
  std::string tenant;
  uint64_t position = 0;     // 0: the newest
  std::string continuation;  // of the page before; empty: the first
  size_t bytes_max = 0;  // of the changes, of which the JSON is bounded, too; a single larger one still comes, alone
  // A position that is known to be complete; what is asked for may be as high although somebody else's transaction
  // is still open below it.
  uint64_t complete = 0;
};

struct SnapshotState {
  uint64_t position = 0;
  std::string changes;       // serialized base.v1.DataChanges
  std::string continuation;  // empty: the last page
  std::string incarnation;
  std::optional<TransactionIdentity> newest;  // of the tenant, below the position
  std::string schema_version;                 // the newest at the time of the answer; empty: none
  UnreadableRows unreadable;                  // missing in `changes`
};

class SnapshotReader {
 public:
  virtual ~SnapshotReader() = default;
  // `wanted` is asked now and then; what it says ends the work. OUT_OF_RANGE with a reason (model/reasons.h) when the
  // state cannot be had, NOT_FOUND for an unknown tenant, INVALID_ARGUMENT for a continuation that is not of this
  // snapshot, UNAVAILABLE when the database is away or has not come to the position.
  virtual StatusOr<SnapshotState> read(const SnapshotQuery& query, const std::function<Status()>& wanted) = 0;
};

std::unique_ptr<SnapshotReader> make_snapshot_reader(std::shared_ptr<Pool> pool);

}  // namespace headgate::engine
