// Where the relay keeps its place: (tenant, sink) -> cursor. A cursor may lag behind what the sink acknowledged, it
// never leads. Implementations: sqlite (embedded default), postgres, redis; one contract suite for all.
//
// Blocking; thread-safe. UNAVAILABLE when the store is away or in use, RESOURCE_EXHAUSTED when its disk is full,
// PERMISSION_DENIED when it refuses us. FAILED_PRECONDITION means one thing only: a newer owner has taken over.
#pragma once

#include <map>
#include <memory>
#include <span>
#include <string>
#include <utility>

#include "base/status.h"
#include "sinks/event.h"

namespace headgate::relay {

using sinks::Cursor;
using sinks::Fence;

struct CursorUpdate {
  std::string tenant;
  Cursor cursor;
};

struct TokenStoreSettings;

class TokenStore {
 public:
  virtual ~TokenStore() = default;
  // Takes the scope (the whole store of this relay's name) over and returns a fence whose epoch is higher than any
  // before, also when the store was lost or put back to an older copy meanwhile: epochs follow the clock. From then on
  // commits with a lower epoch are refused.
  virtual StatusOr<Fence> acquire(const std::string& owner) = 0;
  virtual StatusOr<std::map<std::string, Cursor>> load(const std::string& sink) = 0;
  // All updates of one sink in one transaction, durable when it returns.
  // FAILED_PRECONDITION when a newer owner has taken over; nothing is changed then. DATA_LOSS, once for each sink: the
  // store lost what it held while we own it (emptied, overwritten, put back to an older copy) and is ours again;
  // nothing of this commit is kept, and the next one should hold all cursors of the sink.
  virtual Status commit(const std::string& sink, std::span<const CursorUpdate> updates, const Fence& fence) = 0;
  // OK when the store can be written to now.
  virtual Status ping() = 0;
  // Connects anew before the next call, with the credentials and certificates of these settings; all else of them is
  // as it was. Does not block on the network.
  virtual void reconnect(const TokenStoreSettings&) {}
};

}  // namespace headgate::relay
