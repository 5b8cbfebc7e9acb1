// A file of events that a sink can never accept, one JSON object a line; README.md has the format.
//
// Each is written once, over any number of restarts: a sink that cannot hold an event meets it again whenever its place
// is read from the sink itself, so the worker asks holds() first. What the file has is read when it is opened: the
// newest kIndexedMax lines of its last kIndexedBytes, which is all that is kept in memory. A half line at the end, left
// by a crash, is cut off then; nobody was told that it is there. Several sinks, also of several processes, may share a
// file, and it may be moved away while it is open: the next line begins a new one.
//
// One thread. Blocks on the disk, and for a second at most on another writer of the file.
#pragma once

#include <deque>
#include <string>
#include <unordered_set>

#include "base/status.h"
#include "sinks/sink.h"

namespace headgate::relay {

class DeadLetterFile {
 public:
  static constexpr size_t kIndexedMax = 10'000;
  static constexpr int64_t kIndexedBytes = 64 << 20;

  // The file is opened, and made, when it is first needed.
  explicit DeadLetterFile(std::string path) : path_(std::move(path)) {}
  ~DeadLetterFile();
  DeadLetterFile(const DeadLetterFile&) = delete;
  DeadLetterFile& operator=(const DeadLetterFile&) = delete;

  // Whether the event, with this sequence, was written for the sink. UNAVAILABLE when the file cannot be read.
  StatusOr<bool> holds(const std::string& sink, const sinks::Delivery& delivery);
  // On disk when it returns; does nothing when holds(). UNAVAILABLE when the file cannot be written, also when the disk
  // is full; nothing is lost and no half line stays then, the caller tries again.
  Status append(const std::string& sink, const sinks::Delivery& delivery, const Status& reason, int64_t now_us);

 private:
  class Lock;

  Status ready();
  Status repair_and_index();
  Status write_line(const std::string& line);
  void index_line(std::string_view line);
  void remember(std::string key);
  Status failure(const char* what) const;
  void close_file();

  const std::string path_;
  int file_ = -1;
  std::unordered_set<std::string> keys_;
  std::deque<const std::string*> order_;  // of keys_, oldest first
};

}  // namespace headgate::relay
