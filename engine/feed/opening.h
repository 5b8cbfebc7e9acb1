// The database's part of opening a stream: which start every tenant gets, and from which xid the stream has to read.
#pragma once

#include <vector>

#include "engine/feed/feed.h"
#include "engine/feed/filter.h"

namespace headgate::engine {

struct OpenedStream {
  StreamFilter filter;
  FeedPlace place;  // nothing of the stream lies in front of it
  StreamOpening opening;
  TransactionIdentity newest;  // in front of `place`
  std::vector<StreamNotice> notices;
  // Up to here a named tenant was removed. Another stream may have told the client a part of what came before, so this
  // one tells no change of that, whether it finds any or not.
  uint64_t removed_below = 0;
};

// Blocks for a fixed number of statements per thousand tenants. Errors as those of FeedStream::pull().
StatusOr<OpenedStream> open_stream(const StreamRequest& request, const Incarnation& incarnation, HistoryReader& reader);

}  // namespace headgate::engine
