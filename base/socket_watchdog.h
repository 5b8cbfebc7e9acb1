// Ends waits of drivers that know no time-out. libpq waits for an answer for as long as the connection stands, and it
// stands for ever when the server hangs, or when a proxy between has forgotten it.
//
// One thread per object; watches are rare enough to be searched. Thread-safe, but for one Watch itself.
#pragma once

#include <cstdint>
#include <map>
#include <thread>
#include <utility>

#include "base/clock.h"

namespace headgate {

class SocketWatchdog {
 public:
  // From its construction to its destruction a socket is watched.
  class Watch {
   public:
    Watch(Watch&& other) noexcept : owner_(std::exchange(other.owner_, nullptr)), id_(other.id_) {}
    Watch& operator=(Watch&&) = delete;
    ~Watch();
    // The time begins anew.
    void renew();

   private:
    friend class SocketWatchdog;
    Watch(SocketWatchdog* owner, uint64_t id) : owner_(owner), id_(id) {}
    SocketWatchdog* owner_;
    uint64_t id_;
  };

  SocketWatchdog();
  // REQUIRES: no Watch is left.
  ~SocketWatchdog();
  SocketWatchdog(const SocketWatchdog&) = delete;
  SocketWatchdog& operator=(const SocketWatchdog&) = delete;

  // After `limit` the socket is shut down, so that whoever waits for it gets an error at once. The watch has a
  // descriptor of its own: the socket may be closed meanwhile.
  [[nodiscard]] Watch watch(int socket, Duration limit);

 private:
  struct Entry {
    int socket;
    Duration limit;
    MonotonicTime deadline;
  };
  void run(std::stop_token stop);

  Mutex mutex_;
  Condition changed_;
  uint64_t last_id_ GUARDED_BY(mutex_) = 0;
  std::map<uint64_t, Entry> entries_ GUARDED_BY(mutex_);
  MonotonicTime next_look_ GUARDED_BY(mutex_) = MonotonicTime::max();
  bool woken_ GUARDED_BY(mutex_) = false;
  std::jthread thread_;
};

}  // namespace headgate
