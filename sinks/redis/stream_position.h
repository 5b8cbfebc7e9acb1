// What Redis holds of one tenant: its position hash and its stream, looked at together.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "base/redis/client.h"
#include "base/status.h"
#include "sinks/event.h"
#include "sinks/redis/stream_routes.h"

namespace headgate::sinks {

using redis::Connection;
using redis::Reply;
using redis::RespCommands;

// "<time>-<count>" of an entry; they compare as Redis compares them.
using EntryId = std::pair<uint64_t, uint64_t>;

struct StreamLook {
  std::optional<EntryId> last_id;  // of the stream, also when its entry is gone; empty: there is no stream
  uint64_t epoch = 0;              // of the owner who wrote last
  std::optional<Cursor> position;  // empty: nobody has written yet
  EntryId position_id;             // of the entry that the position was written with, in a stream of its own
  bool same_birth = false;         // of a shared stream: it is the one that the position was written beside
};

// Changes nothing, and its reply is small however large the entries are. Not thread-safe.
class LookScript {
 public:
  // Gives the script to a server that was just connected to.
  Status load(Connection& connection, std::stop_token stop);
  void append(RespCommands& commands, const StreamKeys& keys) const;
  std::vector<std::string_view> arguments(const StreamKeys& keys) const;
  // The look does not refer to the reply. REQUIRES: it is no error.
  static StatusOr<StreamLook> read(const redisReply* reply);

 private:
  std::string sha_;
};

// The last event that the stream holds. The position counts when it speaks of the stream's last entry: a stream that
// was deleted or went back to an older state has lost what the position names. Then the last entry is asked for. In a
// shared stream the position counts while the stream is the one that it was written beside.
StatusOr<std::optional<Cursor>> held_of(const StreamLook& look, const StreamKeys& keys, redis::Client& client,
                                        std::stop_token stop);

// The stream, of one tenant, holds less than `stored`: whatever is written next gets an id behind all that readers may
// have had. `held` is the answer of held_of(); nothing is changed when somebody else has written since the look.
Status raise_ids(const StreamLook& look, const StreamKeys& keys, const Cursor& stored,
                 const std::optional<Cursor>& held, redis::Client& client, std::stop_token stop);

// Gives a script to the server; returns its name there, which is the same on every server.
StatusOr<std::string> load_script(Connection& connection, std::string_view script, std::stop_token stop);

}  // namespace headgate::sinks
