// What the history of a client and that of the database have in common, by the identities that the client gives.
#pragma once

#include <vector>

#include "engine/feed/feed.h"
#include "engine/feed/identity.h"

namespace headgate::engine {

struct SharedHistory {
  bool asked = false;         // the client gave an identity at all
  bool others_named = false;  // it gave one for its default position, and that is intact
  std::vector<bool> intact;   // by tenant of the request; true without an identity
  uint64_t newest = 0;        // the highest xid that both have, and up to which the client has all of it

  // Behind it everything of the database may be new to the client.
  uint64_t end() const { return newest + 1; }
};

// Blocks for a fixed number of statements per thousand tenants. OUT_OF_RANGE with HISTORY_REPLACED when the client's
// default position cannot be continued from, UNAVAILABLE with FUTURE_TOKEN when a standby has not come to it.
StatusOr<SharedHistory> compare_histories(const StreamRequest& request, const Incarnation& incarnation,
                                          HistoryReader& reader);

}  // namespace headgate::engine
