// The fast way of a backlog into the streams: plain XADD inside MULTI and EXEC, without Lua, which costs the server
// nearly half of what an event costs there.
//
// A chunk of events, of one tenant or of some, goes in two steps on one connection. The look: WATCH of the tenants'
// streams and positions, what they hold, MULTI. Then, when the look shows the ordinary case: XADD for each event, HSET
// of the positions, EXEC. While Redis works on one chunk, the next is put together; its look follows the EXEC at once.
//
// Why this is as safe as the script. EXEC runs everything in one piece, and only when nobody has changed a watched key
// since WATCH, so all that the look showed is still true while the chunk runs: no owner with a higher epoch has written
// (a writer changes the position, also when it only takes the epoch), the incarnation is the same, every event lies
// strictly behind the position, the event that must be there before it is there, and the stream's last id is the
// position's, so that no XADD can fail for its id or its key's type. Memory, disk, replicas and permissions are checked
// when a command is queued, and then EXEC refuses the whole (EXECABORT). MULTI is acknowledged before the first XADD is
// sent, so none can run on its own. A lost answer leaves the chunk there or not there; the next look tells which.
//
// Everything else is left to the script, which decides alone: repeats, a new incarnation, control events, a changed
// key, a refusal, a stream that is not what the position says.
#pragma once

#include <array>
#include <span>
#include <stop_token>
#include <vector>

#include "base/status.h"
#include "sinks/encoding/cloud_event.h"
#include "sinks/redis/stream_batch.h"
#include "sinks/redis/stream_position.h"

namespace headgate::sinks {

// One chunk. Not thread-safe; clear() keeps the memory.
class StreamTransaction {
 public:
  // The events [begin, end) of `run`.
  struct Share {
    TenantRun* run;
    size_t begin;
    size_t end;
  };
  enum class Outcome {
    kStored,
    kNotRun,   // nothing of it is there
    kUnknown,  // no answer, or one that cannot be: ask Redis before anything else is sent
  };

  StreamTransaction(const LookScript& looks, const RedisStreamsSettings& settings)
      : looks_(looks), settings_(settings) {}

  void clear();
  void add_share(const Share& share) { shares_.push_back(share); }
  std::vector<Share>& shares() { return shares_; }
  // The commands of the look, and of the second step; shares must be there, for the second also what is encoded.
  const RespCommands& look();
  // Puts the events together. A share ends in front of an event that cannot be encoded, which refuses its followers,
  // and all end where the chunk has become large enough.
  void encode(StreamBatch& batch, const Encoder& encoder);
  const RespCommands& body() const { return body_; }
  // Is this the ordinary case? `replies` are those of the look.
  bool may_run(const StreamBatch& batch, std::span<const Reply> replies) const;
  Outcome outcome(std::span<const Reply> replies) const;

 private:
  Status encode_event(const Share& share, const Delivery& delivery, const Encoder& encoder);
  void close_share(const Share& share, const Delivery& last, uint64_t epoch);
  bool may_run(const StreamBatch& batch, const Share& share, const StreamLook& look) const;

  const LookScript& looks_;
  const RedisStreamsSettings& settings_;
  std::vector<Share> shares_;
  RespCommands look_;
  RespCommands body_;
  Encoded encoded_;
  size_t steps_ = 0;      // between MULTI and EXEC
  bool ordinary_ = true;  // all events are in strict order and of a usual size
};

// Not thread-safe. Waits as long as the connection's time-outs, once for each chunk.
class StreamTransactions {
 public:
  StreamTransactions(const LookScript& looks, const Encoder& encoder, const RedisStreamsSettings& settings)
      : encoder_(encoder),
        settings_(settings),
        chunks_{StreamTransaction(looks, settings), StreamTransaction(looks, settings)} {}

  // A new connection may be allowed what the last one was not.
  void opened() { refused_ = false; }
  // Stores what is ordinary, of tenants with many events in the batch. The rest is left for the script. All runs have
  // this connection, those of one slot stand together. An error: the connection is closed, and what has no outcome yet
  // may or may not be there.
  Status run(StreamBatch& batch, std::span<TenantRun> runs, Connection& connection, std::stop_token stop);

 private:
  bool may_try() const;
  // Takes the next events; false when there are none.
  bool plan(StreamTransaction& chunk);
  void encode(StreamBatch& batch, StreamTransaction& chunk);
  static void settle(StreamBatch& batch, StreamTransaction& chunk);
  Status discard(Connection& connection, std::span<const Reply> look, std::stop_token stop);

  const Encoder& encoder_;
  const RedisStreamsSettings& settings_;
  std::array<StreamTransaction, 2> chunks_;
  bool refused_ = false;       // this server, proxy or user knows no transactions over these keys
  std::span<TenantRun> runs_;  // of the call in progress
  // Where the next chunk begins.
  size_t run_ = 0;
  size_t at_ = 0;
};

}  // namespace headgate::sinks
