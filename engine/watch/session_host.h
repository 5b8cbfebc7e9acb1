// All sessions of both services, and the one thread that moves those which the feed has woken or whose heartbeat is
// due. The feed's own thread only puts sessions into its queue. Thread-safe.
#pragma once

#include <memory>
#include <thread>
#include <unordered_map>
#include <vector>

#include "base/mutex.h"
#include "engine/watch/session.h"
#include "engine/watch/watch_service.h"

namespace headgate::engine {

class SessionHost {
 public:
  explicit SessionHost(int streams_max);
  ~SessionHost();

  enum class Kind { kWatch, kFeed };
  // RESOURCE_EXHAUSTED when full, UNAVAILABLE when draining.
  Status add(const std::shared_ptr<StreamSession>& session, Kind kind);
  void remove(const StreamSession& session);
  void post(std::shared_ptr<StreamSession> session);
  // See WatchServices::drain().
  void drain(Duration window);
  bool draining() const { return draining_; }

  void count_message(size_t bytes);
  void count_failure() { ++failed_; }
  void count_refusal() { ++refused_; }
  WatchStats stats() const;

 private:
  void run(std::stop_token stop);
  void beat(MonotonicTime now);
  std::vector<std::shared_ptr<StreamSession>> all() const;
  bool wait_until_empty(Duration timeout);

  const int streams_max_;
  std::atomic<bool> draining_ = false;
  std::atomic<uint64_t> opened_ = 0, refused_ = 0, failed_ = 0, messages_ = 0, bytes_ = 0;

  mutable Mutex mutex_;
  Condition changed_;
  std::vector<std::shared_ptr<StreamSession>> queue_ GUARDED_BY(mutex_);
  struct Member {
    std::weak_ptr<StreamSession> session;
    Kind kind;
  };
  std::unordered_map<const StreamSession*, Member> members_ GUARDED_BY(mutex_);
  std::jthread thread_;
};

}  // namespace headgate::engine
