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

// An idle session has nothing to say. When its socket can be read, the server has ended it.
bool ended_by_server(const PgConnection& connection) {
  pollfd socket{connection.sock(), POLLIN, 0};
  return ::poll(&socket, 1, 0) != 0;
}

}  // namespace

Pool::Pool(PoolSettings settings) : settings_(std::move(settings)) {}

Pool::~Pool() = default;

StatusOr<Pool::Session> Pool::connect() {
  Session session;
  HG_ASSIGN_OR_RETURN(session.connection, connect_postgres(settings_.connection(), stopping_.get_token()));
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
  want();
  {
    MutexLock lock(mutex_);
    ++wanting_;
    const bool free = changed_.wait_for(mutex_, stopping_.get_token(), settings_.acquire_timeout,
                                        [&]() REQUIRES_LOCK(mutex_) { return may_take(); });
    --wanting_;
    if (!free && stopping_.stop_requested()) return make_status(StatusCode::kCancelled, "the engine is shutting down");
    if (!free) {
      return status_of(StatusCode::kResourceExhausted,
                       "all {} database connections are busy for {} ms; raise database.max_connections",
                       settings_.connections_max, settings_.acquire_timeout.count());
    }
    while (!idle_.empty()) {
      Session session = take_idle(setup);
      if (!ended_by_server(*session.connection)) return session;
      --open_;
    }
    ++open_;
  }
  auto session = connect();
  if (!session.ok()) release({});
  return session;
}

void Pool::release(Session session) {
  {
    MutexLock lock(mutex_);
    if (session.connection != nullptr && session.connection->is_open()) {
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
  if (open_ >= settings_.connections_max) {
    if (idle_.empty()) return false;
    const bool has_share = leased_ >= std::max(1, settings_.connections_max / 2);
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
