// Settings of the Redis sinks.
#pragma once

#include <cstdint>
#include <string>

#include "base/redis/settings.h"

namespace headgate::sinks {

// A stream for each tenant, or some streams that tenants share; beside it a position hash for each tenant, changed
// together with it by a script or a transaction.
struct RedisStreamsSettings {
  redis::ClientSettings connection;
  std::string prefix = "headgate";
  // Templates. {tenant}: a stream for each; {shard}: `shards` streams. Doubled braces make a hash tag.
  std::string stream = "{prefix}:{{{tenant}}}:changes";
  std::string position;  // empty: {prefix}:{{{tenant}}}:position, or {prefix}:{{{shard}}}:position:{tenant}
  uint32_t shards = 16;  // of a stream with {shard}: a tenant's is CRC16(tenant) modulo this, for good
  std::string index =
      "{prefix}:{{streams}}";  // set of the streams' keys; its own stream ":new" tells new ones. Empty: none
  uint64_t max_length = 0;     // keep about so many entries in each stream; 0: all
  uint64_t entries_per_script = 64;
  uint64_t entries_per_transaction = 256;  // of a backlog; 0: everything goes by the script
  size_t event_bytes_max = 64 << 20;       // one event; Redis' own limit is 512 MB
};

// Structured JSON on a channel for each tenant. Signal only.
struct RedisPubsubSettings {
  redis::ClientSettings connection;
  std::string prefix = "headgate";
  std::string channel = "{prefix}:{tenant}";
  std::string heartbeat_channel = "{prefix}:heartbeat";  // template; ":sink" or ":tenant:<name>" follows
  size_t event_bytes_max = 16 << 20;
};

}  // namespace headgate::sinks
