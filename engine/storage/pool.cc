#include "engine/storage/pool.h"

#include <poll.h>

#include "base/log.h"
#include "base/postgres/errors.h"
#include "engine/storage/sql.h"

namespace headgate::engine {

namespace {

constexpr Duration kAnswerGrace{2'000};
// A connection idle for longer may be given up for a lease.
constexpr Duration kUnused{1'000};
constexpr Duration kLately{10'000};

// An idle session has nothing to say. When its socket can be read, the server has ended it.
bool ended_by_server(const PgConnection& connection) {
  pollfd socket{connection.sock(), POLLIN, 0};
  return ::poll(&socket, 1, 0) != 0;
}

}  // namespace

Pool::Pool(PoolSettings settings) : settings_(std::move(settings)), room_(settings_.connections_max, random_seed()) {}

Pool::~Pool() = default;

StatusOr<Pool::Session> Pool::connect() {
  Session session;
  const std::stop_token stop = stopping_.get_token();
  HG_ASSIGN_OR_RETURN(session.connection,
                      connect_patiently([&] { return connect_postgres(settings_.connection(), stop); }, stop));
  PgConnection& connection = *session.connection;
  try {
    const auto watch = watchdog_.watch(connection.sock(), settings_.connect_timeout + kAnswerGrace);
    // A transaction whose client has vanished without a word would hold the feed back for as long as its session lives.
    pqxx::nontransaction(connection)
        .exec(fmt::format("SET statement_timeout = {0}; SET idle_in_transaction_session_timeout = {0}; {1}",
                          settings_.statement_timeout.count(), kPinnedPlans));
    if (settings_.prepare) settings_.prepare(connection);
    return session;
  } catch (...) {
    return status_of_postgres_exception();
  }
}

Pool::Session Pool::take_idle(const SessionSetup* setup) {
  auto chosen = std::prev(idle_.end());
  if (setup != nullptr) {
    const auto ready = std::find_if(idle_.rbegin(), idle_.rend(),
                                    [&](const Session& session) { return session.setups.contains(setup->name); });
    if (ready != idle_.rend()) chosen = std::prev(ready.base());
  }
  Session session = std::move(*chosen);
  idle_.erase(chosen);
  return session;
}

StatusOr<Pool::Session> Pool::acquire(const SessionSetup* setup) {
  const MonotonicTime end = std::chrono::steady_clock::now() + settings_.acquire_timeout;
  for (;;) {
    want();
    {
      MutexLock lock(mutex_);
      ++wanting_;
      const bool free = wait_for_one(end);
      --wanting_;
      if (!free)
        return stopping_.stop_requested() ? make_status(StatusCode::kCancelled, "the engine is shutting down")
                                          : none_free_locked();
      while (!idle_.empty()) {
        Session session = take_idle(setup);
        if (!ended_by_server(*session.connection)) return session;
        --open_;
      }
      if (!may_open()) continue;
      ++open_;
    }
    auto session = connect();
    MutexLock lock(mutex_);
    if (session.ok()) {
      room_.on_connected(open_);
      return session;
    }
    --open_;
    if (!room_.on_refused(open_, session.status())) return session;
  }
}

// A place among those that the server is not known to give is free from some moment on, of which nobody tells.
bool Pool::wait_for_one(MonotonicTime end) {
  const auto free = [&]() REQUIRES_LOCK(mutex_) { return may_take(); };
  while (!free()) {
    const MonotonicTime now = std::chrono::steady_clock::now();
    if (now >= end || stopping_.stop_requested()) return false;
    const MonotonicTime until = open_ < settings_.connections_max ? std::min(end, room_.ask_again()) : end;
    changed_.wait_until(mutex_, stopping_.get_token(), until, free);
  }
  return true;
}

Status Pool::none_free() const {
  MutexLock lock(mutex_);
  return none_free_locked();
}

Status Pool::none_free_locked() const {
  if (room_.refusal().ok()) {
    return status_of(StatusCode::kResourceExhausted,
                     "all {} database connections are busy for {} ms; raise database.max_connections",
                     settings_.connections_max, settings_.acquire_timeout.count());
  }
  if (open_ == 0) return room_.refusal();
  // Clients hear this; the reason, which names users and servers, is in the log.
  return status_of(StatusCode::kResourceExhausted,
                   "all {} database connections that the server gives are busy for {} ms, and it gives no more", open_,
                   settings_.acquire_timeout.count());
}

bool Pool::wait_out(const Status& refusal) {
  MutexLock lock(mutex_);
  // Without the place of the one that was refused.
  return room_.on_refused(open_ - 1, refusal);
}

void Pool::lease_connected() {
  MutexLock lock(mutex_);
  room_.on_connected(open_);
}

bool Pool::scarce() const {
  MutexLock lock(mutex_);
  return room_.scarce();
}

Status Pool::refused_lately() const {
  MutexLock lock(mutex_);
  if (!room_.refusal().ok()) return room_.refusal();
  return std::chrono::steady_clock::now() < refused_elsewhere_ + kLately ? refusal_elsewhere_ : ok_status();
}

void Pool::make_room_after(const Status& refusal) {
  if (!no_connection_left(refusal)) return;
  Session given_up;  // closed without the lock
  MutexLock lock(mutex_);
  room_.refused_elsewhere();
  refusal_elsewhere_ = refusal;
  refused_elsewhere_ = std::chrono::steady_clock::now();
  if (open_ <= 1) return;
  room_.give_up_one(open_);
  if (idle_.empty()) return;
  given_up = std::move(idle_.front());
  idle_.erase(idle_.begin());
  --open_;
}

void Pool::close_unused() {
  std::vector<Session> unused;
  MutexLock lock(mutex_);
  const MonotonicTime since = std::chrono::steady_clock::now() - settings_.idle_max;
  while (!idle_.empty() && idle_.front().idle_since < since) {
    unused.push_back(std::move(idle_.front()));
    idle_.erase(idle_.begin());
    --open_;
  }
}

Status Pool::check() {
  {
    MutexLock lock(mutex_);
    if (room_.refusal().ok() || open_ > 0) return ok_status();
    if (!may_open()) return room_.refusal();
    ++open_;
  }
  StatusOr<Session> session = connect();
  MutexLock lock(mutex_);
  if (!session.ok()) {
    --open_;
    room_.on_refused(open_, session.status());
    return session.status();
  }
  room_.on_connected(open_);
  session->idle_since = std::chrono::steady_clock::now();
  idle_.push_back(*std::move(session));
  changed_.notify_one();
  return ok_status();
}

void Pool::release(Session session) {
  {
    MutexLock lock(mutex_);
    const bool kept = open_ <= room_.limit();
    if (session.connection != nullptr && session.connection->is_open() && kept) {
      session.used = true;
      session.idle_since = std::chrono::steady_clock::now();
      idle_.push_back(std::move(session));
    } else {
      --open_;
    }
  }
  changed_.notify_one();
}

void Pool::drop_idle() {
  std::vector<Session> dropped;
  {
    MutexLock lock(mutex_);
    dropped.swap(idle_);
    open_ -= static_cast<int>(dropped.size());
  }
  changed_.notify_all();
}

Status Pool::run(const std::function<Status(pqxx::connection_base&)>& work) { return run_on_session(nullptr, work); }

Status Pool::run(const SessionSetup& setup, const std::function<Status(pqxx::connection_base&)>& work) {
  return run_on_session(&setup, work);
}

Status Pool::read(const std::function<Status(pqxx::connection_base&)>& work) {
  bool reused = false;
  const Status status = run_on_session(nullptr, work, &reused);
  return reused && status.code() == StatusCode::kUnavailable ? run(work) : status;
}

Status Pool::read(const SessionSetup& setup, const std::function<Status(pqxx::connection_base&)>& work) {
  bool reused = false;
  const Status status = run_on_session(&setup, work, &reused);
  return reused && status.code() == StatusCode::kUnavailable ? run(setup, work) : status;
}

Status Pool::run_on_session(const SessionSetup* setup, const std::function<Status(pqxx::connection_base&)>& work,
                            bool* reused) {
  HG_ASSIGN_OR_RETURN(Session session, acquire(setup));
  if (reused != nullptr) *reused = session.used;
  Status status;
  const auto watch = watchdog_.watch(session.connection->sock(), 2 * settings_.statement_timeout + kAnswerGrace);
  try {
    if (setup != nullptr && !session.setups.contains(setup->name)) {
      pqxx::nontransaction(*session.connection).exec(setup->sql);
      session.setups.insert(setup->name);
    }
    status = work(*session.connection);
  } catch (...) {
    status = status_of_postgres_exception();
    // A failed session may hold anything; a fresh one costs a millisecond.
    if (status.code() != StatusCode::kAborted) session = {};
    if (status.code() == StatusCode::kUnavailable) drop_idle();
  }
  release(std::move(session));
  return status;
}

bool Pool::lease() {
  Session room;  // closed without the lock
  MutexLock lock(mutex_);
  if (!may_open()) {
    if (idle_.empty()) return false;
    const bool has_share = leased_ >= std::max(1, room_.limit() / 2);
    if (has_share && std::chrono::steady_clock::now() < idle_.front().idle_since + kUnused) return false;
    room = std::move(idle_.front());
    idle_.erase(idle_.begin());
    --open_;
  }
  ++open_;
  ++leased_;
  return true;
}

void Pool::end_lease() {
  {
    MutexLock lock(mutex_);
    --open_;
    --leased_;
  }
  changed_.notify_one();
}

bool Pool::wanted() const {
  MutexLock lock(mutex_);
  return wanting_ > 0 && !may_take();
}

bool Pool::over() const {
  MutexLock lock(mutex_);
  return open_ > room_.limit();
}

int Pool::limit() const {
  MutexLock lock(mutex_);
  return room_.limit();
}

void Pool::set_on_wanted(std::function<void()> on_wanted) {
  MutexLock lock(on_wanted_mutex_);
  on_wanted_ = std::move(on_wanted);
}

void Pool::want() {
  {
    MutexLock lock(mutex_);
    if (may_take() || leased_ == 0) return;
  }
  MutexLock lock(on_wanted_mutex_);
  if (on_wanted_) on_wanted_();
}

int Pool::in_use() const {
  MutexLock lock(mutex_);
  return open_ - leased_ - static_cast<int>(idle_.size());
}

int Pool::open() const {
  MutexLock lock(mutex_);
  return open_;
}

}  // namespace headgate::engine
