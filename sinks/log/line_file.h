// A file of lines that grows at its end and never keeps a torn line.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "base/status.h"

namespace headgate::sinks {

// Not thread-safe. Blocks on the device.
class LineFile {
 public:
  explicit LineFile(std::string path) : path_(std::move(path)) {}
  ~LineFile() { close(); }
  LineFile(const LineFile&) = delete;
  LineFile& operator=(const LineFile&) = delete;

  // Creates the file when absent, takes an exclusive lock and cuts a torn last line off.
  // UNAVAILABLE when another process has the lock; other errors by errno.
  Status open();
  void close();
  bool is_open() const { return fd_ >= 0; }

  // Appends. On failure the bytes behind `size()` are removed again, as far as the device allows.
  Status append(std::string_view lines);
  // Makes everything appended durable.
  Status sync();
  // Cuts back to `size`, e.g. after a failed sync().
  Status cut(uint64_t size);
  uint64_t size() const { return size_; }

  // Renames "<path>" to "<path>.1", "<path>.1" to "<path>.2" and so on, dropping those behind `keep`, and opens anew.
  Status rotate(int keep);

 private:
  Status repair();

  const std::string path_;
  int fd_ = -1;
  uint64_t size_ = 0;  // of complete lines
};

// Calls `each` for the complete lines of a file, last one first, until it returns false, the start is reached or
// `bytes` have been read. A file that is not there has no lines.
Status for_lines_from_end(const std::string& path, uint64_t bytes, const std::function<bool(std::string_view)>& each);

// ENOSPC, EDQUOT and EFBIG are RESOURCE_EXHAUSTED, the rest UNAVAILABLE.
Status status_of_errno(int error, std::string_view what, const std::string& path);

}  // namespace headgate::sinks
