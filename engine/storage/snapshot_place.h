// Where a page of a snapshot begins, as the opaque text that a reader hands back. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/status.h"

namespace headgate::engine {

struct SnapshotPlace {
  enum class Table { kTuples, kAttributes };
  static constexpr size_t kTupleKey = 6;      // entity type and id, relation, subject type, id and relation
  static constexpr size_t kAttributeKey = 3;  // entity type and id, attribute

  uint64_t position = 0;
  // The tenant's newest transaction below the position; another one there means another history. 0: none.
  uint64_t newest_xid = 0;
  int64_t newest_started_at_us = 0;
  Table table = Table::kTuples;
  std::vector<std::string> key;  // the page begins behind this row; empty: in front of the table

  bool operator==(const SnapshotPlace&) const = default;
};

std::string encode_snapshot_place(const SnapshotPlace& place);
// INVALID_ARGUMENT for anything that encode_snapshot_place() cannot have written.
StatusOr<SnapshotPlace> decode_snapshot_place(const std::string& text);

}  // namespace headgate::engine
