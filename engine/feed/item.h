// One message of the feed: a transaction, one part of a very large one, or an event of a tenant's life, encoded once
// for all streams.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "engine/storage/history.h"

namespace headgate::engine {

// Immutable and shared by all streams that carry it.
struct FeedItem {
  std::string tenant;
  uint64_t xid = 0;
  uint32_t part = 0;
  bool more_parts = false;
  int64_t started_at_us = 0;
  // Legacy form of the xid in the last part; the position in front of the transaction in the parts before, because who
  // resumes there must get the transaction again. The position behind a life event, which is no row of `transactions`.
  std::string snap_token;
  std::string changes;                      // serialized base.v1.DataChanges; empty for a life event
  std::unique_ptr<const LifeEvent> life{};  // else null
  // Not null: in place of rows of the transaction that are no values. What is left of it is in the parts behind.
  std::unique_ptr<const std::string> unreadable{};
  bool nameless = false;  // its tenant's name is none, so no message can carry it

  // What it costs to keep.
  size_t bytes() const {
    const size_t rest =
        (life ? sizeof(LifeEvent) + life->schema_version.size() : 0) + (unreadable ? unreadable->size() : 0);
    return sizeof(FeedItem) + tenant.size() + snap_token.size() + changes.size() + rest;
  }
};
using FeedItemPtr = std::shared_ptr<const FeedItem>;

inline TransactionIdentity identity_of(const FeedItem& item) { return {item.xid, item.started_at_us, item.tenant}; }

// Appends the parts of `transaction`. A part holds at most `part_bytes_max` of changes, and kJsonBytesMax of them as
// JSON (storage/json_size.h), but at least one change. The same transaction always gives the same bytes. A life event
// is one part. Rows that are no values are named by one more part, the first one.
void encode_transaction(const HistoryTransaction& transaction, size_t part_bytes_max, std::vector<FeedItemPtr>* out);

}  // namespace headgate::engine
