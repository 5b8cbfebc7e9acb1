// Settings of the Redis sinks.
#pragma once

#include <cstdint>
#include <string>

#include "base/clock.h"

namespace headgate::sinks {

struct RedisConnectionSettings {
  std::string host = "127.0.0.1";
  uint16_t port = 6379;
  std::string unix_socket;  // instead of host and port
  std::string user;         // empty: the default user
  std::string password;     // empty: no AUTH
  uint32_t database = 0;
  bool tls = false;  // refused: hiredis 0.14 has no TLS; put a TLS proxy beside the relay
  Duration connect_timeout{2'000};
  Duration command_timeout{5'000};  // until all replies to what was sent together are there
};

// One stream and one position hash for each tenant, changed together by a script or a transaction.
struct RedisStreamsSettings {
  RedisConnectionSettings connection;
  std::string prefix = "headgate";
  std::string stream = "{prefix}:{{{tenant}}}:changes";  // templates; the braces make the hash tag
  std::string position = "{prefix}:{{{tenant}}}:position";
  uint64_t max_length = 0;  // keep about so many entries in each stream; 0: all
  uint64_t entries_per_script = 64;
  uint64_t entries_per_transaction = 256;  // of a backlog; 0: everything goes by the script
  size_t event_bytes_max = 64 << 20;       // one event; Redis' own limit is 512 MB
};

// Structured JSON on a channel for each tenant. Signal only.
struct RedisPubsubSettings {
  RedisConnectionSettings connection;
  std::string prefix = "headgate";
  std::string channel = "{prefix}:{tenant}";
  size_t event_bytes_max = 16 << 20;
};

}  // namespace headgate::sinks
