// How much a JetStream stream may still take without dropping anything, and whether its settings drop events at all.
//
// A server that is told to refuse new messages counts only headers and data of a message against max_bytes, stores it
// with its subject and a record's head, and then removes the oldest messages until the stream is within max_bytes again
// (seen with nats-server 2.9.10). So the sink does not let it come to that. Not thread-safe, never blocks.
#pragma once

#include <cstdint>
#include <string>

#include "sinks/nats/connection.h"

namespace headgate::sinks {

class StreamRoom {
 public:
  // What the server says of the stream now; nothing may be in flight.
  void update(const jsStreamInfo& info);
  // Counts a message of `bytes`, or refuses it with RESOURCE_EXHAUSTED.
  Status take(const std::string& stream, size_t bytes);
  // The last take() was refused; what the server says may be less than what was counted.
  bool refused() const { return refused_; }
  int64_t bytes() const { return bytes_; }

 private:
  int64_t bytes_max_ = 0;  // 0: no limit, or one that drops old messages anyway
  int64_t bytes_ = 0;
  bool refused_ = false;
};

// An upper bound of what a message takes in a stream.
size_t stored_bytes(const std::string& subject, const Encoded& encoded);

// Which settings of the stream remove events that nobody has read, as "discard=old with max_bytes=1000"; empty: none.
std::string dropping_settings(const jsStreamConfig& config);

}  // namespace headgate::sinks
