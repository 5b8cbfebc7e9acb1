#include "engine/watch/session_host.h"

#include "base/guard.h"
#include "engine/rpc/error_details.h"

namespace headgate::engine {

namespace {

constexpr Duration kBeat{50};
constexpr Duration kGoodbye{1'000};

}  // namespace

SessionHost::SessionHost(int streams_max) : streams_max_(streams_max) {
  thread_ = std::jthread([this](std::stop_token stop) { run(stop); });
}

SessionHost::~SessionHost() = default;

Status SessionHost::add(const std::shared_ptr<StreamSession>& session, Kind kind) {
  MutexLock lock(mutex_);
  if (draining_) return unavailable("the server is shutting down");
  if (static_cast<int>(members_.size()) >= streams_max_) {
    return status_of(StatusCode::kResourceExhausted, "this server holds all the {} streams it may; try another one",
                     streams_max_);
  }
  members_[session.get()] = {session, kind};
  ++opened_;
  return ok_status();
}

void SessionHost::remove(const StreamSession& session) {
  MutexLock lock(mutex_);
  members_.erase(&session);
  changed_.notify_all();
}

void SessionHost::post(std::shared_ptr<StreamSession> session) {
  if (session->queued_.exchange(true)) return;
  {
    MutexLock lock(mutex_);
    queue_.push_back(std::move(session));
  }
  changed_.notify_all();
}

void SessionHost::run(std::stop_token stop) {
  MonotonicTime next_beat = system_clock().now() + kBeat;
  while (!stop.stop_requested()) {
    std::vector<std::shared_ptr<StreamSession>> ready;
    {
      MutexLock lock(mutex_);
      changed_.wait_until(mutex_, stop, next_beat, [&]() REQUIRES_LOCK(mutex_) { return !queue_.empty(); });
      ready.swap(queue_);
    }
    for (const auto& session : ready) {
      // First, so that a wake-up during advance() is not lost.
      session->queued_ = false;
      session->advance();
    }
    if (const MonotonicTime now = system_clock().now(); now >= next_beat) {
      beat(now);
      next_beat = now + kBeat;
    }
  }
}

void SessionHost::beat(MonotonicTime now) {
  for (const auto& session : all()) {
    if (session->heartbeat_due(now)) session->advance();
  }
}

std::vector<std::shared_ptr<StreamSession>> SessionHost::all() const {
  std::vector<std::shared_ptr<StreamSession>> sessions;
  MutexLock lock(mutex_);
  sessions.reserve(members_.size());
  for (const auto& [key, member] : members_) {
    if (auto session = member.session.lock()) sessions.push_back(std::move(session));
  }
  return sessions;
}

void SessionHost::drain(Duration window) {
  {
    MutexLock lock(mutex_);
    draining_ = true;
  }
  const MonotonicTime begin = system_clock().now();
  const auto sessions = all();
  for (size_t i = 0; i < sessions.size(); ++i) {
    const Duration spread = guarded(Guard::kDrainSpread) ? window : Duration(0);
    const auto at = begin + spread * i / sessions.size();
    while (system_clock().now() < at) system_clock().sleep(Duration(5), {});
    sessions[i]->end(unavailable("the server is shutting down"), random_delay(spread));
  }
  const auto left = std::chrono::duration_cast<Duration>(begin + window - system_clock().now());
  if (wait_until_empty(std::max(left, kGoodbye / 2))) return;
  // Clients that do not read cannot be told.
  for (const auto& session : all()) session->cancel();
  wait_until_empty(kGoodbye / 2);
}

bool SessionHost::wait_until_empty(Duration timeout) {
  MutexLock lock(mutex_);
  return changed_.wait_for(mutex_, timeout, [&]() REQUIRES_LOCK(mutex_) { return members_.empty(); });
}

void SessionHost::count_message(size_t bytes) {
  ++messages_;
  bytes_ += bytes;
}

WatchStats SessionHost::stats() const {
  WatchStats stats{.opened = opened_, .refused = refused_, .failed = failed_, .messages = messages_, .bytes = bytes_};
  MutexLock lock(mutex_);
  for (const auto& [key, member] : members_) ++(member.kind == Kind::kWatch ? stats.watch_streams : stats.feed_streams);
  return stats;
}

}  // namespace headgate::engine
