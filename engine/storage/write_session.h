// A connection that carries out one attempt at a write at a time, without blocking, in two round trips of prepared
// statements:
//   BEGIN, locks of the session, COMMIT, BEGIN, row of the transaction
//   data, COMMIT, unlock
// The locks are taken in a transaction of their own, because the snapshot must come after them; they are the session's
// and outlast it. The INSERT into transactions takes its lock on the table before the row's default draws
// the xid, and in SERIALIZABLE the snapshot is taken before both. So whoever sees this xid in progress finds its holder
// in pg_locks, and no transaction sees one with a higher xid: the feed's horizon and the order of xids rest on that.
//
// Not thread-safe. Errors of the server are in the attempt; after one that may have left something behind the session
// is no longer usable(), and its locks go with it.
#pragma once

#include <libpq-fe.h>

#include <memory>

#include "base/clock.h"
#include "base/socket_watchdog.h"
#include "engine/storage/pool.h"
#include "engine/storage/write_attempt.h"

namespace headgate::engine {

class WriteSession {
 public:
  // Blocks. Every transaction of the session is SERIALIZABLE.
  static StatusOr<std::unique_ptr<WriteSession>> connect(const PoolSettings& settings, SocketWatchdog& watchdog,
                                                         std::stop_token stop);

  int socket() const { return PQsocket(connection_.get()); }
  bool idle() const { return phase_ == Phase::kIdle; }
  bool usable() const { return phase_ != Phase::kLost; }
  // Something is left to be sent when the socket takes more.
  bool sending() const { return sending_; }
  MonotonicTime busy_since() const { return busy_since_; }

  // REQUIRES: idle().
  void begin(std::shared_ptr<const WriteOrder> order);
  // To be called when the socket is ready. True when the attempt has ended.
  bool advance();
  // Ends the attempt as if the connection had broken.
  void lose(const Status& status);
  // REQUIRES: the attempt has ended.
  WriteAttempt take() { return std::move(attempt_); }

 private:
  enum class Phase { kIdle, kBeginning, kCommitting, kRollingBack, kLost };
  struct Close {
    void operator()(PGconn* connection) const { PQfinish(connection); }
    void operator()(PGresult* result) const { PQclear(result); }
  };
  using Result = std::unique_ptr<PGresult, Close>;

  explicit WriteSession(PGconn* connection) : connection_(connection) {}
  Status set_up(const PoolSettings& settings);
  Status exec(const std::string& sql);

  void send(const Statement& statement);
  void end_phase();
  void flush();
  void on_result(const PGresult& result);
  void on_error(const PGresult& result);
  void on_begun(const PGresult& row);
  // When the last statement of a phase has been answered.
  void next_phase();
  Status send_data();
  void roll_back();
  Status error_of(const PGresult* result) const;

  const std::unique_ptr<PGconn, Close> connection_;
  Phase phase_ = Phase::kIdle;
  int results_to_begin_ = 0;  // of statements with rows, until the one that begins
  bool queued_ = true;        // libpq has taken all that was to be sent
  bool sending_ = false;
  bool committed_ = false;
  MonotonicTime busy_since_{};
  std::shared_ptr<const WriteOrder> order_;
  WriteAttempt attempt_;
};

}  // namespace headgate::engine
