#include "engine/storage/write_lane.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <array>

#include "base/log.h"

namespace headgate::engine {
namespace {

constexpr Duration kCheck{100};
// How soon to ask the pool again for a place.
constexpr Duration kAskAgain{5};
constexpr Duration kSilenceGrace{2'000};

MonotonicTime now() { return std::chrono::steady_clock::now(); }

void watch(int epoll, int operation, int socket, uint32_t events) {
  epoll_event event{};
  event.events = events;
  event.data.fd = socket;
  HG_CHECK(::epoll_ctl(epoll, operation, socket, &event) == 0);
}

WriteAttempt failed(const Status& status) {
  WriteAttempt attempt;
  attempt.status = status;
  return attempt;
}

}  // namespace

WriteLane::WriteLane(std::shared_ptr<Pool> pool, WriteLaneSettings settings)
    : pool_(std::move(pool)),
      epoll_(::epoll_create1(EPOLL_CLOEXEC)),
      event_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      line_({settings.waiting_max, settings.waiting_bytes_max}) {
  HG_CHECK(epoll_ >= 0 && event_ >= 0);
  watch(epoll_, EPOLL_CTL_ADD, event_, EPOLLIN);
  pool_->set_on_wanted([this] { wake(); });
  connector_ = std::jthread([this](std::stop_token stop) { connect(stop); });
  thread_ = std::jthread([this](std::stop_token stop) { run(stop); });
}

WriteLane::~WriteLane() {
  pool_->set_on_wanted({});
  {
    MutexLock lock(mutex_);
    closing_ = true;
  }
  connector_.request_stop();
  thread_.request_stop();
  wake();
  connector_.join();
  thread_.join();
  MutexLock lock(work_);
  for (size_t left = seats_.size() + static_cast<size_t>(connecting_); left > 0; --left) pool_->end_lease();
  seats_.clear();
  ::close(event_);
  ::close(epoll_);
}

bool WriteLane::submit(std::shared_ptr<const WriteOrder> order, size_t bytes, Done done) {
  {
    MutexLock lock(mutex_);
    if (closing_ || line_.push({std::move(order), std::move(done), now()}, bytes)) return false;
  }
  start_unless_busy();
  return true;
}

size_t WriteLane::waiting() const {
  MutexLock lock(mutex_);
  return line_.size();
}

size_t WriteLane::running() const { return running_; }

void WriteLane::wake() const {
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = ::write(event_, &one, sizeof(one));
}

// Opens one connection after the other, and each only when it has been asked for.
void WriteLane::connect(std::stop_token stop) {
  MutexLock lock(mutex_);
  while (changed_.wait(mutex_, stop, [this]() REQUIRES_LOCK(mutex_) { return to_connect_ > 0; })) {
    --to_connect_;
    mutex_.unlock();
    Connected connected =
        connect_patiently([&] { return WriteSession::connect(pool_->settings(), watchdog_, stop); }, stop);
    mutex_.lock();
    connected_.push_back(std::move(connected));
    wake();
  }
}

void WriteLane::run(std::stop_token stop) {
  std::array<epoll_event, 64> events;
  int ready = 0;
  while (!stop.stop_requested()) {
    Duration timeout = kCheck;
    {
      MutexLock lock(work_);
      for (int i = 0; i < ready; ++i) on_ready(events[i].data.fd);
      take_connected();
      if (pool_->wanted() || pool_->over()) give_back();
      if (now() >= next_check_) end_overdue();
      start_waiting();
      if (refused_ && seats_.empty()) timeout = kAskAgain;
    }
    if (can_start()) start_unless_busy();
    ready = ::epoll_wait(epoll_, events.data(), events.size(), static_cast<int>(timeout.count()));
  }
  MutexLock lock(work_);
  end_all();
}

void WriteLane::end_all() {
  const Status status = unavailable("the engine is shutting down");
  std::vector<int> open;
  for (const auto& [socket, seat] : seats_) open.push_back(socket);
  for (const int socket : open) {
    seats_.at(socket).session->lose(status);
    settle(socket);
  }
  fail_waiting(status, MonotonicTime::max());
}

void WriteLane::start_unless_busy() {
  // What came into the line while another thread had the lock is seen by that thread after it has let go.
  do {
    if (!work_.try_lock()) return;
    start_waiting();
    work_.unlock();
  } while (can_start());
}

bool WriteLane::can_start() const { return has_idle_ && waiting() > 0; }

void WriteLane::take_connected() {
  std::vector<Connected> connected;
  {
    MutexLock lock(mutex_);
    connected.swap(connected_);
  }
  for (Connected& session : connected) {
    --connecting_;
    if (session.ok()) {
      const int socket = (*session)->socket();
      seats_[socket].session = std::move(*session);
      seats_[socket].idle_since = now();
      idle_.push_back(socket);
      watch(epoll_, EPOLL_CTL_ADD, socket, EPOLLIN);
      pool_->lease_connected();
      continue;
    }
    const bool waits = pool_->wait_out(session.status());
    pool_->end_lease();
    if (seats_.empty() && !waits) fail_waiting(session.status(), MonotonicTime::max());
  }
}

void WriteLane::start_waiting() {
  Job job;
  while (!idle_.empty() && take_first(job, MonotonicTime::max())) start(std::move(job));
  refused_ = false;
  if (idle_.empty() && connecting_ == 0 && waiting() > 0) ask_for_connection();
  has_idle_ = !idle_.empty();
}

void WriteLane::start(Job job) {
  if (const Status wanted = job.order->wanted ? job.order->wanted() : ok_status(); !wanted.ok()) {
    WriteAttempt attempt = failed(wanted);
    attempt.unwanted = true;
    return job.done(std::move(attempt));
  }
  const int socket = idle_.back();
  idle_.pop_back();
  Seat& seat = seats_.at(socket);
  seat.done = std::move(job.done);
  ++running_;
  seat.session->begin(std::move(job.order));
  if (!seat.session->usable()) return settle(socket);
  watch_sending(socket, seat);
}

bool WriteLane::take_first(Job& job, MonotonicTime since_max) {
  MutexLock lock(mutex_);
  if (line_.empty() || line_.front().since > since_max) return false;
  job = line_.pop();
  return true;
}

void WriteLane::ask_for_connection() {
  refused_ = !pool_->lease();
  if (refused_) return;
  ++connecting_;
  MutexLock lock(mutex_);
  ++to_connect_;
  changed_.notify_one();
}

void WriteLane::on_ready(int socket) {
  if (socket == event_) {
    uint64_t count = 0;
    [[maybe_unused]] const ssize_t taken = ::read(event_, &count, sizeof(count));
    return;
  }
  const auto found = seats_.find(socket);
  if (found == seats_.end()) return;
  WriteSession& session = *found->second.session;
  const bool was_idle = session.idle();
  if (!session.advance()) return watch_sending(socket, found->second);
  if (!was_idle) return settle(socket);
  // The server has ended an idle session.
  if (!session.usable()) close(socket);
}

// An attempt has ended.
void WriteLane::settle(int socket) {
  Seat& seat = seats_.at(socket);
  const Done done = std::exchange(seat.done, nullptr);
  WriteAttempt attempt = seat.session->take();
  if (seat.session->usable()) {
    watch_sending(socket, seat);
    seat.idle_since = now();
    idle_.push_back(socket);
  } else {
    close(socket);
  }
  if (!done) return;
  --running_;
  done(std::move(attempt));
}

void WriteLane::watch_sending(int socket, Seat& seat) {
  if (seat.watches_sending == seat.session->sending()) return;
  seat.watches_sending = seat.session->sending();
  watch(epoll_, EPOLL_CTL_MOD, socket, seat.watches_sending ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

void WriteLane::close(int socket) {
  std::erase(idle_, socket);
  seats_.erase(socket);
  pool_->end_lease();
}

void WriteLane::fail_waiting(const Status& status, MonotonicTime since_max) {
  Job job;
  while (take_first(job, since_max)) job.done(failed(status));
}

void WriteLane::end_overdue() {
  const PoolSettings& limits = pool_->settings();
  next_check_ = now() + kCheck;
  pool_->close_unused();
  while (!idle_.empty() && seats_.at(idle_.front()).idle_since + limits.idle_max < now()) close(idle_.front());
  const MonotonicTime silent = now() - (2 * limits.statement_timeout + kSilenceGrace);
  std::vector<int> overdue;
  for (const auto& [socket, seat] : seats_) {
    if (seat.done && seat.session->busy_since() < silent) overdue.push_back(socket);
  }
  for (const int socket : overdue) {
    log_warn("silent_connection_ended", {{"waited_ms", (2 * limits.statement_timeout + kSilenceGrace).count()}});
    seats_.at(socket).session->lose(unavailable("the database does not answer"));
    settle(socket);
  }
  // The first connection has limits of its own.
  if (seats_.empty() && connecting_ > 0) return;
  fail_waiting(pool_->none_free(), now() - limits.acquire_timeout);
}

void WriteLane::give_back() {
  const bool has_more = static_cast<int>(seats_.size()) > pool_->limit() / 2;
  if (!idle_.empty() && (has_more || waiting() == 0)) close(idle_.front());
}

}  // namespace headgate::engine
