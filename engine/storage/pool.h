// A bounded pool of PostgreSQL connections.
//
// The bound is `connections_max`, or what the server lets it have: a connection that is refused while others stand
// lowers the bound to those, and whoever wants one waits for its turn as with a full pool. Now and then one more is
// tried, so that the bound rises again by itself. Connections that nobody has used for a while are closed.
//
// A connection never reconnects behind the back of a session (libpqxx 6 would): a broken one is thrown away and the
// next caller opens a fresh one. Thread-safe.
#pragma once

#include <functional>
#include <memory>
#include <pqxx/pqxx>
#include <set>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/mutex.h"
#include "base/postgres/connect.h"
#include "base/socket_watchdog.h"
#include "base/status.h"
#include "engine/storage/connection_room.h"

namespace headgate::engine {

struct PoolSettings {
  PostgresSettings connection() const { return {uri, connect_timeout, application_name}; }

  std::string uri;  // postgres://… or key=value; holds a secret, never logged
  int connections_max = 20;
  // RESOURCE_EXHAUSTED when no connection gets free in that time, UNAVAILABLE when the server gives none.
  Duration acquire_timeout{5'000};
  Duration idle_max{60'000};  // an idle connection is closed after it
  Duration connect_timeout{5'000};
  // The server's limit for one statement. A connection that is silent for twice as long is ended: the server hangs, or
  // something between has forgotten it.
  Duration statement_timeout{30'000};
  std::string application_name = "headgate-engine";
  // Run once on every new connection: prepared statements, session settings.
  std::function<void(pqxx::connection_base&)> prepare;
};

// SQL that some code needs run once on a connection before it uses it, for example PREPARE. Equal names mean equal SQL.
struct SessionSetup {
  std::string name;
  std::string sql;
};

class Pool {
 public:
  explicit Pool(PoolSettings settings);
  ~Pool();
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  // Runs `work` with a connection. Exceptions become Status as in base/postgres/errors.h.
  Status run(const std::function<Status(pqxx::connection_base&)>& work);

  // The same with a connection that has had `setup`; one that has had it already is preferred.
  Status run(const SessionSetup& setup, const std::function<Status(pqxx::connection_base&)>& work);

  // As run(), for work that changes nothing: it is done once more when a connection that was idle turns out to be dead.
  Status read(const std::function<Status(pqxx::connection_base&)>& work);
  Status read(const SessionSetup& setup, const std::function<Status(pqxx::connection_base&)>& work);

  // As run(), with a typed result.
  template <typename T>
  StatusOr<T> get(const std::function<StatusOr<T>(pqxx::connection_base&)>& work) {
    StatusOr<T> result = make_status(StatusCode::kInternal, "no result");
    Status status = run([&](pqxx::connection_base& connection) {
      result = work(connection);
      return result.status();
    });
    if (!status.ok()) return status;
    return result;
  }

  // A place among the connections_max for a connection of the caller's own, who calls end_lease() when it is closed.
  // An idle connection makes room, unless it was used a moment ago and the leases have their half. False: none is free.
  bool lease();
  void end_lease();
  // The server gave the holder of a lease no connection. True when that is to be waited out: others stand, or there are
  // too many of somebody else's. The lease is to be ended in any case.
  bool wait_out(const Status& refusal);
  // The holder of a lease has its connection.
  void lease_connected();
  // Another part of the process was refused a connection. If there are too many, one of ours is given up for it.
  void make_room_after(const Status& refusal);
  // Whether connections are few: whoever can do with fewer should.
  bool scarce() const;
  // What this pool or another part was refused a connection for a moment ago, OK when none was.
  Status refused_lately() const;
  // Somebody waits for a connection while leases hold some: whoever has more than half of limit(), or does not need its
  // own, should end one. `on_wanted` is called when a wait begins, on that thread; empty ends that.
  bool wanted() const;
  // There are more connections than the server should have: whoever has more than one lease should end one.
  bool over() const;
  // Closes what has been idle for longer than idle_max; to be called now and then.
  void close_unused();
  void set_on_wanted(std::function<void()> on_wanted);

  // No connection is opened from now on, and attempts under way end: their callers hear CANCELLED.
  void stop() { stopping_.request_stop(); }

  const PoolSettings& settings() const { return settings_; }
  // Without the leases.
  int in_use() const;
  // With them.
  int open() const;
  // What `open` may be now: connections_max, or fewer as long as the server gives no more.
  int limit() const;
  // What a caller hears who has waited for acquire_timeout.
  Status none_free() const;
  // OK when there is a connection, or nothing is known against making one; otherwise one is tried.
  Status check();

 private:
  struct Session {
    std::unique_ptr<PgConnection> connection;
    std::set<std::string> setups;
    bool used = false;  // has been idle in the pool
    MonotonicTime idle_since{};
  };

  Status run_on_session(const SessionSetup* setup, const std::function<Status(pqxx::connection_base&)>& work,
                        bool* reused = nullptr);
  StatusOr<Session> acquire(const SessionSetup* setup);
  Session take_idle(const SessionSetup* setup) REQUIRES_LOCK(mutex_);
  void release(Session session);
  // A server that ended one session has usually ended all; the others would fail one caller each.
  void drop_idle();
  StatusOr<Session> connect();
  bool may_take() const REQUIRES_LOCK(mutex_) { return !idle_.empty() || may_open(); }
  bool may_open() const REQUIRES_LOCK(mutex_) { return room_.may_open(open_); }
  Status none_free_locked() const REQUIRES_LOCK(mutex_);
  bool wait_for_one(MonotonicTime end) REQUIRES_LOCK(mutex_);
  // Asks for a leased place when nothing else is left.
  void want();

  const PoolSettings settings_;
  SocketWatchdog watchdog_;
  std::stop_source stopping_;
  mutable Mutex mutex_;
  Condition changed_;
  std::vector<Session> idle_ GUARDED_BY(mutex_);
  int open_ GUARDED_BY(mutex_) = 0;
  int leased_ GUARDED_BY(mutex_) = 0;
  int wanting_ GUARDED_BY(mutex_) = 0;
  ConnectionRoom room_ GUARDED_BY(mutex_);
  Status refusal_elsewhere_ GUARDED_BY(mutex_);
  MonotonicTime refused_elsewhere_ GUARDED_BY(mutex_){};
  Mutex on_wanted_mutex_;
  std::function<void()> on_wanted_ GUARDED_BY(on_wanted_mutex_);
};

}  // namespace headgate::engine
