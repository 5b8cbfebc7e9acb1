#include "relay/delivery/committer.h"

#include <pthread.h>

#include <chrono>
#include <utility>

namespace headgate::relay {

namespace {

// Stores bound their calls; this is for one that does not keep to it.
constexpr Duration kAnswerMax{30'000};

}  // namespace

Committer::Committer(Parts parts, CommitSettings settings, std::string sink, Fence fence)
    : parts_(parts),
      settings_(settings),
      sink_(std::move(sink)),
      fence_(fence),
      backoff_(settings.retry, random_seed()) {
  thread_ = std::jthread([this](std::stop_token stop) { run(stop); });
  pthread_setname_np(thread_.native_handle(), ("commit-" + sink_).substr(0, 15).c_str());
}

Committer::~Committer() = default;

void Committer::on_acknowledged(size_t events) {
  if (uncommitted_ == in_flight_) oldest_ = parts_.clock.now();
  uncommitted_ += events;
}

bool Committer::due(const SinkPlace& place, bool idle) const {
  const MonotonicTime now = parts_.clock.now();
  if (under_way_ || now < not_before_) return false;
  if (place.events_changed()) {
    return idle || uncommitted_ >= settings_.events_max || now - oldest_ >= settings_.interval;
  }
  if (!place.progress_changed()) return false;
  // The first mark of all makes a restart start here and not at the head of that time.
  return !progress_committed_ || now - last_commit_ >= settings_.progress_interval;
}

void Committer::start(std::vector<CursorUpdate> updates) {
  if (updates.empty()) return;
  under_way_ = true;
  in_flight_ = uncommitted_;
  {
    MutexLock lock(mutex_);
    job_ = std::move(updates);
  }
  changed_.notify_all();
}

std::optional<Committer::Outcome> Committer::outcome() {
  if (!under_way_) return std::nullopt;
  std::optional<Outcome> outcome;
  {
    MutexLock lock(mutex_);
    outcome = std::exchange(done_, std::nullopt);
  }
  if (outcome) settle(*outcome);
  return outcome;
}

std::optional<Committer::Outcome> Committer::wait_for_outcome() {
  if (!under_way_) return std::nullopt;
  {
    MutexLock lock(mutex_);
    const bool answered =
        changed_.wait_for(mutex_, kAnswerMax, [&]() REQUIRES_LOCK(mutex_) { return done_.has_value(); });
    if (!answered) {
      return Outcome{make_status(StatusCode::kDeadlineExceeded, "the token store has not answered within 30 s"), {}};
    }
  }
  return outcome();
}

void Committer::settle(const Outcome& outcome) {
  under_way_ = false;
  const size_t covered = std::exchange(in_flight_, 0);
  if (!outcome.status.ok()) {
    parts_.metrics.on_commit_failed();
    not_before_ = parts_.clock.now() + backoff_.next();
    return;
  }
  progress_committed_ |= outcome.updates.back().tenant == kProgressTenant;
  uncommitted_ -= covered;
  last_commit_ = parts_.clock.now();
  not_before_ = {};
  backoff_.reset();
}

std::optional<std::vector<CursorUpdate>> Committer::next_job(std::stop_token stop) {
  MutexLock lock(mutex_);
  changed_.wait(mutex_, stop, [&]() REQUIRES_LOCK(mutex_) { return job_.has_value(); });
  return std::exchange(job_, std::nullopt);
}

void Committer::run(std::stop_token stop) {
  while (auto job = next_job(stop)) {
    Outcome outcome{ok_status(), std::move(*job)};
    const auto begin = std::chrono::steady_clock::now();
    outcome.status = parts_.store.commit(sink_, outcome.updates, fence_);
    if (outcome.status.ok()) {
      parts_.metrics.on_committed(outcome.updates.size(),
                                  std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
    }
    MutexLock lock(mutex_);
    done_ = std::move(outcome);
    changed_.notify_all();
  }
}

Duration Committer::idle_wait(const SinkPlace& place) const {
  return under_way_ || place.events_changed() ? settings_.idle : Duration(200);
}

}  // namespace headgate::relay
