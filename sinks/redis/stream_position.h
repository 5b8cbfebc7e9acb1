// What Redis holds of one tenant: its position hash and its stream, looked at together.
#pragma once

#include <hiredis/hiredis.h>

#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "base/status.h"
#include "sinks/event.h"
#include "sinks/redis/connection.h"
#include "sinks/redis/resp.h"
#include "sinks/redis/stream_batch.h"

namespace headgate::sinks {

// "<time>-<count>" of an entry; they compare as Redis compares them.
using EntryId = std::pair<uint64_t, uint64_t>;

struct StreamLook {
  std::optional<EntryId> last_id;  // of the stream, also when its entry is gone; empty: there is no stream
  uint64_t epoch = 0;              // of the owner who wrote last
  std::optional<Cursor> position;  // empty: nobody has written yet
  EntryId position_id;             // of the entry that the position was written with
};

// Changes nothing, and its reply is small however large the entries are. Not thread-safe.
class LookScript {
 public:
  // Gives the script to a server that was just connected to.
  Status load(RedisConnection& connection, std::stop_token stop);
  void append(RespCommands& commands, const StreamKeys& keys) const;
  // An error of Redis becomes a status. The look does not refer to the reply.
  static StatusOr<StreamLook> read(const redisReply* reply);

 private:
  std::string sha_;
};

// The last event that the stream holds. The position counts when it speaks of the stream's last entry: a stream that
// was deleted or went back to an older state has lost what the position names. Then the last entry is asked for.
StatusOr<std::optional<Cursor>> held_of(const StreamLook& look, const StreamKeys& keys, RedisConnection& connection,
                                        std::stop_token stop);

// Gives a script to the server; returns its name there.
StatusOr<std::string> load_script(RedisConnection& connection, std::string_view script, std::stop_token stop);

std::string_view text_of(const redisReply* reply);

}  // namespace headgate::sinks
