// Settings of the stdout and file sinks. Both write structured JSON, one event a line.
#pragma once

#include <cstdint>
#include <string>

namespace headgate::sinks {

struct StdoutSettings {};

struct FileSettings {
  std::string path;
  uint64_t rotate_bytes = 0;  // start a new file when this one is larger; 0: never
  int rotate_keep = 5;        // "<path>.1" is the newest of the old files
  bool sync = true;           // fsync before acknowledging; without it a power cut may lose events
};

}  // namespace headgate::sinks
