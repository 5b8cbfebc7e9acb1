// How much memory the process may have, and whether it comes to an end.
#pragma once

#include <atomic>
#include <cstddef>
#include <string>
#include <thread>

namespace headgate {

struct MemoryRoom {
  size_t limit = 0;  // 0: nobody has set one
  size_t used = 0;
  const char* by = "";  // who set the limit, as an operator calls it

  size_t left() const { return limit - (used < limit ? used : limit); }
};

// What bounds this process: its address space (RLIMIT_AS) and the memory of its control group (memory.max, of version 1
// memory.limit_in_bytes), its own or one above it.
class MemoryLimit {
 public:
  // The folders are for tests.
  explicit MemoryLimit(const std::string& groups = "/sys/fs/cgroup", const std::string& proc = "/proc/self");

  // Of the limit that is nearest. RLIMIT_AS as it is now, the other as it was at the start. Address space that the
  // allocator keeps for later does not count, because it can be used. Takes microseconds, with RLIMIT_AS some tens.
  // Thread-safe.
  MemoryRoom room() const;

 private:
  size_t of_group_ = 0;
};

// Whether memory is short: less than an eighth of the limit is left, at most 256 MiB; and then until an eighth
// more than that is. Pure.
class MemoryShortage {
 public:
  bool look(const MemoryRoom& room);

 private:
  bool short_ = false;
};

// Looks all the time, tells the log, and gives back what the allocator holds while it is short. One thread.
class MemoryWatch {
 public:
  MemoryWatch();
  MemoryWatch(const MemoryWatch&) = delete;
  MemoryWatch& operator=(const MemoryWatch&) = delete;

  bool is_short() const { return short_; }

 private:
  void run(const std::stop_token& stop);

  const MemoryLimit limit_;
  std::atomic<bool> short_{false};
  std::jthread thread_;
};

}  // namespace headgate
