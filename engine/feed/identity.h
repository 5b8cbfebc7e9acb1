// What tells one history of the database from another: the identities of transactions that were seen.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "engine/storage/history.h"

namespace headgate::engine {

// What a new connection of the feed shows.
struct HistorySight {
  Incarnation incarnation;
  uint64_t horizon = 0;
  uint64_t begin = 0;          // a position at or below the horizon with nothing between; it survives a crash
  TransactionIdentity newest;  // the last transaction in front of it
};

// What the feed has told its streams.
struct KeptHistory {
  std::string incarnation;
  XidRange range;           // of the ring
  size_t transactions = 0;  // in it
  std::vector<TransactionIdentity> newest;
};

// Behind `newest`, the last transaction in front of `horizon`. The xids between the two left nothing behind, so that a
// server that crashes may hand them out again.
uint64_t durable_position(const TransactionIdentity& newest, const Incarnation& incarnation, uint64_t horizon);

// Blocks for a few statements.
StatusOr<HistorySight> look_at_history(HistoryReader& reader);
// Blocks for a statement per thousand. Those with xid 0 are intact.
StatusOr<std::vector<bool>> all_of(HistoryReader& reader, std::span<const TransactionIdentity> seen);
StatusOr<bool> all_intact(HistoryReader& reader, std::span<const TransactionIdentity> seen);
// Whether the database still has the history that was kept.
StatusOr<bool> is_kept(HistoryReader& reader, const KeptHistory& kept);

}  // namespace headgate::engine
