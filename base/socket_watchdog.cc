#include "base/socket_watchdog.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>

#include "base/log.h"

namespace headgate {

SocketWatchdog::SocketWatchdog() : thread_([this](std::stop_token stop) { run(stop); }) {}

SocketWatchdog::~SocketWatchdog() {
  thread_.request_stop();
  thread_.join();
  for (const auto& [id, entry] : entries_) ::close(entry.socket);
}

SocketWatchdog::Watch SocketWatchdog::watch(int socket, Duration limit) {
  const int own = ::fcntl(socket, F_DUPFD_CLOEXEC, 0);
  const MonotonicTime deadline = std::chrono::steady_clock::now() + limit;
  MutexLock lock(mutex_);
  const uint64_t id = ++last_id_;
  entries_[id] = {own, limit, deadline};
  // Mostly it looks soon enough, for the sake of a watch that has ended meanwhile.
  if (deadline < next_look_) {
    woken_ = true;
    changed_.notify_one();
  }
  return {this, id};
}

SocketWatchdog::Watch::~Watch() {
  if (owner_ == nullptr) return;
  MutexLock lock(owner_->mutex_);
  const auto entry = owner_->entries_.find(id_);
  ::close(entry->second.socket);
  owner_->entries_.erase(entry);
}

void SocketWatchdog::Watch::renew() {
  MutexLock lock(owner_->mutex_);
  Entry& entry = owner_->entries_.at(id_);
  entry.deadline = std::chrono::steady_clock::now() + entry.limit;
}

void SocketWatchdog::run(std::stop_token stop) {
  MutexLock lock(mutex_);
  while (!stop.stop_requested()) {
    const MonotonicTime now = std::chrono::steady_clock::now();
    MonotonicTime next = now + std::chrono::hours(1);
    for (auto& [id, entry] : entries_) {
      if (entry.deadline <= now) {
        log_warn("silent_connection_ended", {{"waited_ms", entry.limit.count()}});
        ::shutdown(entry.socket, SHUT_RDWR);
        entry.deadline = MonotonicTime::max();
      }
      next = std::min(next, entry.deadline);
    }
    next_look_ = next;
    changed_.wait_until(mutex_, stop, next, [this]() REQUIRES_LOCK(mutex_) { return woken_; });
    woken_ = false;
  }
}

}  // namespace headgate
