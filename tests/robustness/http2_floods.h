// Floods of HTTP/2 frames by clients without a key, and what the engine may take of memory and time for each.
#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <vector>

namespace headgate::testing {

struct HttpFlood {
  struct Bounds {
    size_t memory;                     // over what the engine had before
    std::chrono::milliseconds during;  // that a new client waits for its answer
    std::chrono::milliseconds after;
  };

  std::string name;
  // The next bytes of one connection; `stream` begins at 1.
  std::function<std::string(uint32_t& stream)> wave;
  Bounds bounds;
  bool reads = false;  // the answers
};

// Streams that are opened and reset at once; opened and left.
HttpFlood rapid_reset();
HttpFlood open_streams();
// Answers that nobody reads.
std::vector<HttpFlood> pings_and_settings();
// Frames that say nothing on a stream, or to nobody.
std::vector<HttpFlood> empty_frames();
std::vector<HttpFlood> endless_headers();
HttpFlood much_metadata();

// Four attackers at an engine of their own, in plain text or by TLS. Checks as doctest does.
void survive_flood(const HttpFlood& flood, bool tls);

}  // namespace headgate::testing
