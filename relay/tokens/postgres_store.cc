// Cursors in PostgreSQL, schema `headgate`. One statement a commit; the row of the owner is share-locked by it, so a
// take-over and a commit never overlap.
#include <sys/socket.h>

#include <pqxx/pqxx>
#include <stop_token>

#include "base/guard.h"
#include "base/mutex.h"
#include "base/postgres/array_text.h"
#include "base/postgres/connect.h"
#include "base/postgres/errors.h"
#include "base/refusals.h"
#include "base/socket_watchdog.h"
#include "relay/tokens/ownership.h"
#include "relay/tokens/postgres_tables.h"
#include "relay/tokens/store_settings.h"

namespace headgate::relay {

namespace {

constexpr Duration kGrace{2'000};

// $3: the least epoch.
constexpr const char* kAcquire =
    "INSERT INTO headgate.relay_owners AS o (scope, owner, epoch) VALUES ($1, $2, $3) "
    "ON CONFLICT (scope) DO UPDATE SET owner = excluded.owner, epoch = greatest(o.epoch + 1, excluded.epoch), "
    "since = now() RETURNING epoch";

// After a loss: our epoch again, unless somebody newer was faster. No row then.
constexpr const char* kClaim =
    "INSERT INTO headgate.relay_owners AS o (scope, owner, epoch) VALUES ($1, $2, $3) "
    "ON CONFLICT (scope) DO UPDATE SET owner = excluded.owner, epoch = excluded.epoch, since = now() "
    "WHERE o.epoch <= excluded.epoch RETURNING epoch";

constexpr const char* kLoad =
    "SELECT tenant, snap_token, xid, part, more_parts, sequence, incarnation, "
    "CASE WHEN described_xid = xid AND described_sequence = sequence THEN identity ELSE '' END, "
    "CASE WHEN described_xid = xid AND described_sequence = sequence THEN snapshot ELSE '' END "
    "FROM headgate.relay_cursors WHERE scope = $1 AND sink = $2";

// Answers the epoch that the store holds, 0 without one, and changes something only when it is ours.
constexpr const char* kCommit =
    "WITH owner AS MATERIALIZED (SELECT epoch FROM headgate.relay_owners WHERE scope = $1 FOR SHARE), "
    "kept AS (INSERT INTO headgate.relay_cursors "
    "(scope, sink, tenant, snap_token, xid, part, more_parts, sequence, incarnation, identity, snapshot, "
    "described_xid, described_sequence) "
    "SELECT $1, $3, u.*, u.xid, u.sequence FROM owner, unnest($4::text[], $5::text[], $6::bigint[], $7::bigint[], "
    "$8::boolean[], $9::bigint[], $10::text[], $11::text[], $12::text[]) AS u (tenant, snap_token, xid, part, "
    "more_parts, sequence, incarnation, identity, snapshot) WHERE owner.epoch = $2 "
    "ON CONFLICT (scope, sink, tenant) DO UPDATE SET snap_token = excluded.snap_token, xid = excluded.xid, "
    "part = excluded.part, more_parts = excluded.more_parts, sequence = excluded.sequence, "
    "incarnation = excluded.incarnation, identity = excluded.identity, snapshot = excluded.snapshot, "
    "described_xid = excluded.described_xid, described_sequence = excluded.described_sequence, updated_at = now()) "
    "SELECT coalesce((SELECT epoch FROM owner), 0)";

std::string commit_statement() {
  std::string sql = kCommit;
  if (!guarded(Guard::kOwnerEpoch)) sql.replace(sql.find("owner.epoch = $2"), 16, "$2 = $2");
  return sql;
}

// Says what was tried. REQUIRES: called inside a catch block.
Status status_of_exception(const std::string& what) {
  const Status status = status_of_postgres_exception();
  const bool rights = status.code() == StatusCode::kPermissionDenied;
  return reworded(status, fmt::format("cannot {}: {}{}", what, message_of(status),
                                      rights ? "; docs/rights.md and headgate-relay --print-sql list the rights" : ""));
}

// Ends the wait of libpq at once: whoever reads from the socket gets an error.
struct Cut {
  int socket;
  void operator()() const { ::shutdown(socket, SHUT_RDWR); }
};
using StopCut = std::stop_callback<Cut>;

class PostgresStore : public TokenStore {
 public:
  PostgresStore(std::string scope, PostgresStoreSettings settings, std::stop_token stop)
      : scope_(std::move(scope)), settings_(std::move(settings)), stop_(std::move(stop)) {}

  Status initialize() {
    return run("prepare the tables", [](pqxx::connection_base& connection) { return prepare_tables(connection); });
  }

  StatusOr<Fence> acquire(const std::string& owner) override {
    Fence fence;
    HG_RETURN_IF_ERROR(run("take the store over", [&](pqxx::connection_base& connection) REQUIRES_LOCK(mutex_) {
      pqxx::nontransaction work(connection);
      fence.epoch = number(work.exec_params1(kAcquire, scope_, owner, static_cast<int64_t>(least_epoch()))[0]);
      owner_ = owner;
      return ok_status();
    }));
    return fence;
  }

  StatusOr<std::map<std::string, Cursor>> load(const std::string& sink) override {
    std::map<std::string, Cursor> cursors;
    HG_RETURN_IF_ERROR(run("read the cursors", [&](pqxx::connection_base& connection) {
      pqxx::nontransaction work(connection);
      for (const auto& row : work.exec_params(kLoad, scope_, sink)) {
        cursors[row[0].c_str()] = {.snap_token = row[1].c_str(),
                                   .xid = number(row[2]),
                                   .part = static_cast<uint32_t>(number(row[3])),
                                   .more_parts = row[4].as<bool>(),
                                   .sequence = number(row[5]),
                                   .incarnation = row[6].c_str(),
                                   .identity = row[7].c_str(),
                                   .snapshot = row[8].c_str()};
      }
      return ok_status();
    }));
    return cursors;
  }

  Status commit(const std::string& sink, std::span<const CursorUpdate> updates, const Fence& fence) override {
    if (updates.empty()) return ok_status();
    std::vector<std::string> tenants, tokens, xids, parts, more, sequences, incarnations, identities, snapshots;
    for (const auto& [tenant, cursor] : updates) {
      tenants.push_back(tenant);
      tokens.push_back(cursor.snap_token);
      xids.push_back(std::to_string(static_cast<int64_t>(cursor.xid)));
      parts.push_back(std::to_string(cursor.part));
      more.push_back(cursor.more_parts ? "t" : "f");
      sequences.push_back(std::to_string(static_cast<int64_t>(cursor.sequence)));
      incarnations.push_back(cursor.incarnation);
      identities.push_back(cursor.identity);
      snapshots.push_back(cursor.snapshot);
    }
    return run("commit", [&](pqxx::connection_base& connection) REQUIRES_LOCK(mutex_) -> Status {
      HG_RETURN_IF_ERROR(losses_.tell(sink));
      const uint64_t stored = stored_epoch([&] {
        pqxx::nontransaction work(connection);
        return work.exec_params1(commit_, scope_, static_cast<int64_t>(fence.epoch), sink, array_text(tenants),
                                 array_text(tokens), array_text(xids), array_text(parts), array_text(more),
                                 array_text(sequences), array_text(incarnations), array_text(identities),
                                 array_text(snapshots));
      });
      if (ownership(stored, fence) == Ownership::kOurs) return ok_status();
      HG_RETURN_IF_ERROR(claim(connection, stored, fence));
      return losses_.tell(sink);
    });
  }

  Status ping() override {
    return run("reach the token store", [](pqxx::connection_base& connection) {
      pqxx::nontransaction work(connection);
      return work.exec1("SELECT pg_is_in_recovery()")[0].as<bool>()
                 ? unavailable("the PostgreSQL of the token store is a read-only standby")
                 : ok_status();
    });
  }

  void reconnect(const TokenStoreSettings& settings) override {
    MutexLock lock(fresh_mutex_);
    fresh_uri_ = settings.postgres.uri;
  }

 private:
  static uint64_t number(const pqxx::field& field) { return static_cast<uint64_t>(field.as<int64_t>()); }

  // `ask` answers a row with the epoch. Tables that are gone are as good as an empty store.
  template <typename Ask>
  static uint64_t stored_epoch(const Ask& ask) {
    try {
      return number(ask()[0]);
    } catch (const pqxx::undefined_table&) {
      return 0;
    }
  }

  // The store is not ours as it stands: FAILED_PRECONDITION when a newer owner is there, else it was lost.
  Status claim(pqxx::connection_base& connection, uint64_t stored, const Fence& fence) REQUIRES_LOCK(mutex_) {
    if (ownership(stored, fence) == Ownership::kTakenOver) return fenced(fence.epoch);
    HG_RETURN_IF_ERROR(prepare_tables(connection));
    pqxx::nontransaction work(connection);
    if (work.exec_params(kClaim, scope_, owner_, static_cast<int64_t>(fence.epoch)).empty()) return fenced(fence.epoch);
    losses_.add();
    return ok_status();
  }

  // A broken connection is thrown away, and the next call opens a fresh one.
  Status run(const std::string& what, const std::function<Status(pqxx::connection_base&)>& work) {
    MutexLock lock(mutex_);
    take_fresh_uri();
    try {
      if (connection_ == nullptr || !connection_->is_open()) {
        if (const Status status = connect(); !status.ok()) {
          return reworded(status, fmt::format("cannot {}: {}", what, message_of(status)));
        }
      }
      const auto watch = watchdog_.watch(connection_->sock(), settings_.statement_timeout + kGrace);
      const StopCut cut(stop_, Cut{connection_->sock()});
      return work(*connection_);
    } catch (...) {
      Status status = status_of_exception(what);
      connection_.reset();
      return stop_.stop_requested() ? status_of(StatusCode::kCancelled, "cannot {}: stopped", what) : status;
    }
  }

  void take_fresh_uri() REQUIRES_LOCK(mutex_) {
    MutexLock lock(fresh_mutex_);
    if (fresh_uri_.empty()) return;
    uri_ = std::exchange(fresh_uri_, "");
    connection_.reset();
  }

  Status connect() REQUIRES_LOCK(mutex_) {
    connection_.reset();
    HG_ASSIGN_OR_RETURN(auto connection, connect_postgres({uri_, settings_.connect_timeout, "headgate-relay"}, stop_));
    const auto watch = watchdog_.watch(connection->sock(), settings_.statement_timeout + kGrace);
    const StopCut cut(stop_, Cut{connection->sock()});
    connection->set_variable("statement_timeout", std::to_string(settings_.statement_timeout.count()));
    connection_ = std::move(connection);
    return ok_status();
  }

  const std::string scope_;
  const PostgresStoreSettings settings_;
  const std::stop_token stop_;
  const std::string commit_ = commit_statement();
  SocketWatchdog watchdog_;  // the server's own limit is of no use when the server is silent
  // Held for a moment only, unlike the other one; taken behind it.
  Mutex fresh_mutex_;
  std::string fresh_uri_ GUARDED_BY(fresh_mutex_);
  Mutex mutex_;
  std::string uri_ GUARDED_BY(mutex_) = settings_.uri;
  std::string owner_ GUARDED_BY(mutex_);
  Losses losses_ GUARDED_BY(mutex_);
  std::unique_ptr<PgConnection> connection_ GUARDED_BY(mutex_);
};

}  // namespace

StatusOr<std::unique_ptr<TokenStore>> make_postgres_store(const std::string& scope,
                                                          const PostgresStoreSettings& settings, std::stop_token stop) {
  if (settings.uri.empty()) return invalid_argument("tokens.postgres.uri is empty");
  auto store = std::make_unique<PostgresStore>(scope, settings, std::move(stop));
  HG_RETURN_IF_ERROR(store->initialize());
  return store;
}

}  // namespace headgate::relay
