// What Redis holds of one tenant: its position hash and its stream, looked at together.
#pragma once

#include <hiredis/hiredis.h>

#include <optional>
#include <string_view>
#include <utility>

#include "base/status.h"
#include "sinks/event.h"
#include "sinks/redis/resp.h"
#include "sinks/redis/stream_batch.h"

namespace headgate::sinks {

// "<time>-<count>" of an entry; they compare as Redis compares them.
using EntryId = std::pair<uint64_t, uint64_t>;

// Queues the two commands of a look.
void append_look(RespCommands& commands, const StreamKeys& keys);
inline constexpr size_t kRepliesPerLook = 2;

struct StreamLook {
  std::optional<EntryId> last_id;  // of the stream, also when its entry is gone; empty: there is no stream
  uint64_t epoch = 0;              // of the owner who wrote last
  std::optional<Cursor> position;  // empty: nobody has written yet
  EntryId position_id;             // of the entry that the position was written with
};

// Views no memory of the replies. An error of Redis becomes a status, except that there is no stream.
StatusOr<StreamLook> read_look(const redisReply* stream, const redisReply* position);

// The last event that the stream holds, after read_look() was fine. The position counts when it speaks of the stream's
// last entry: a stream that was deleted or went back to an older state has lost what the position names.
std::optional<Cursor> held_of(const StreamLook& look, const redisReply* stream);

std::string_view text_of(const redisReply* reply);

}  // namespace headgate::sinks
