// What an operator does with a JetStream stream: look at it, make it, change its limits. Throws std::runtime_error.
#pragma once

#include <cstdint>
#include <string>

namespace headgate::testing {

struct StreamState {
  uint64_t first = 0;  // number of the oldest message
  uint64_t messages = 0;
  uint64_t bytes = 0;
  int64_t subjects = 0;
};
StreamState stream_state(const std::string& address, const std::string& stream);

struct StreamLimits {
  int64_t bytes_max = -1;
  int64_t messages_max = -1;
  bool drops_old = false;
};
void make_stream(const std::string& address, const std::string& stream, const std::string& subjects,
                 const StreamLimits& limits);
// Keeps everything else.
void change_stream(const std::string& address, const std::string& stream, const StreamLimits& limits);

}  // namespace headgate::testing
