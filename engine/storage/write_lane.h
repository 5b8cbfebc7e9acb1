// The way of all writes to the database: one thread that carries them out over several connections at once, so that a
// write costs neither a thread of its own nor a hand-over for each of its answers. Whoever submits a write while that
// thread sleeps sends its beginning himself, which spares waking it.
//
// Connections are WriteSessions; their number is bounded by the pool, whose places they take (Pool::lease), one more
// whenever a write finds none idle. A thread of its own opens them. Writes wait in a line that is bounded by number and
// bytes. Thread-safe.
#pragma once

#include <atomic>
#include <memory>
#include <thread>
#include <unordered_map>
#include <vector>

#include "base/line.h"
#include "base/mutex.h"
#include "engine/storage/pool.h"
#include "engine/storage/write_session.h"

namespace headgate::engine {

struct WriteLaneSettings {
  size_t waiting_max = 1000;
  size_t waiting_bytes_max = 64 << 20;
};

class WriteLane {
 public:
  // Called once, on the lane's thread or inside of submit(); must not block, nor submit.
  using Done = std::function<void(WriteAttempt)>;

  WriteLane(std::shared_ptr<Pool> pool, WriteLaneSettings settings);
  // Writes not yet started fail with UNAVAILABLE, those under way end as if their connections had broken.
  ~WriteLane();
  WriteLane(const WriteLane&) = delete;
  WriteLane& operator=(const WriteLane&) = delete;

  // False when the line is full: `done` is then not called. Does not block. Attempts fail as Pool::run() does:
  // RESOURCE_EXHAUSTED after acquire_timeout in the line, UNAVAILABLE when no connection can be had.
  bool submit(std::shared_ptr<const WriteOrder> order, size_t bytes, Done done);

  size_t waiting() const;
  size_t running() const;

 private:
  struct Job {
    std::shared_ptr<const WriteOrder> order;
    Done done;
    MonotonicTime since;
  };
  struct Seat {
    std::unique_ptr<WriteSession> session;
    Done done;  // of the attempt under way
    bool watches_sending = false;
    MonotonicTime idle_since{};
  };
  using Connected = StatusOr<std::unique_ptr<WriteSession>>;

  void run(std::stop_token stop);
  void connect(std::stop_token stop);
  void wake() const;

  // Starts what can be started, unless another thread is at it, which will see the line.
  void start_unless_busy();
  bool can_start() const;
  void take_connected() REQUIRES_LOCK(work_);
  void start_waiting() REQUIRES_LOCK(work_);
  void start(Job job) REQUIRES_LOCK(work_);
  bool take_first(Job& job, MonotonicTime since_max);
  void ask_for_connection() REQUIRES_LOCK(work_);
  void on_ready(int socket) REQUIRES_LOCK(work_);
  void settle(int socket) REQUIRES_LOCK(work_);
  void watch_sending(int socket, Seat& seat) REQUIRES_LOCK(work_);
  void close(int socket) REQUIRES_LOCK(work_);
  // All that wait since then or longer.
  void fail_waiting(const Status& status, MonotonicTime since_max);
  void end_overdue() REQUIRES_LOCK(work_);
  void give_back() REQUIRES_LOCK(work_);
  void end_all() REQUIRES_LOCK(work_);

  const std::shared_ptr<Pool> pool_;
  const int epoll_;
  const int event_;  // eventfd
  SocketWatchdog watchdog_;

  mutable Mutex mutex_;
  Line<Job> line_ GUARDED_BY(mutex_);
  bool closing_ GUARDED_BY(mutex_) = false;
  int to_connect_ GUARDED_BY(mutex_) = 0;
  std::vector<Connected> connected_ GUARDED_BY(mutex_);
  Condition changed_;  // to_connect_
  std::atomic<size_t> running_{0};

  // Held by whoever works on the sessions; never waited for by submit(). Taken before mutex_.
  Mutex work_;
  std::unordered_map<int, Seat> seats_ GUARDED_BY(work_);  // by socket
  std::vector<int> idle_ GUARDED_BY(work_);                // the one used last is at the end
  std::atomic<bool> has_idle_{false};
  int connecting_ GUARDED_BY(work_) = 0;
  bool refused_ GUARDED_BY(work_) = false;  // the pool has no place
  MonotonicTime next_check_ GUARDED_BY(work_){};

  std::jthread connector_;
  std::jthread thread_;
};

}  // namespace headgate::engine
