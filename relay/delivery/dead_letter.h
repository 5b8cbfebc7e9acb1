// A file of events that a sink can never accept: one JSON object a line, on disk when append() returns.
// One thread.
#pragma once

#include <string>

#include "base/status.h"
#include "sinks/sink.h"

namespace headgate::relay {

class DeadLetterFile {
 public:
  explicit DeadLetterFile(std::string path) : path_(std::move(path)) {}
  ~DeadLetterFile();
  DeadLetterFile(const DeadLetterFile&) = delete;
  DeadLetterFile& operator=(const DeadLetterFile&) = delete;

  // UNAVAILABLE when the file cannot be written; nothing is lost then, the caller tries again.
  Status append(const std::string& sink, const sinks::Delivery& delivery, const Status& reason, int64_t now_us);

 private:
  const std::string path_;
  int file_ = -1;
};

}  // namespace headgate::relay
