// Cursors in PostgreSQL, schema `headgate`. One statement a commit; the row of the owner is share-locked by it, so a
// take-over and a commit never overlap.
#include <pqxx/pqxx>

#include "base/guard.h"
#include "base/mutex.h"
#include "base/socket_watchdog.h"
#include "relay/tokens/ownership.h"
#include "relay/tokens/store_settings.h"

namespace headgate::relay {

namespace {

constexpr Duration kGrace{2'000};

// What is missing is made, and nothing else is touched: a role that may only read and write is enough once all is
// there. Columns that came later have defaults, so that an older relay can go on with the table. What they say belongs
// to the cursor only while described_xid and described_sequence are its own; the older relay leaves them behind.
struct Piece {
  const char* missing;  // a condition
  const char* make;
};
constexpr Piece kPieces[] = {
    {"to_regnamespace('headgate') IS NULL", "CREATE SCHEMA IF NOT EXISTS headgate"},
    {"to_regclass('headgate.relay_owners') IS NULL",
     "CREATE TABLE IF NOT EXISTS headgate.relay_owners (scope text PRIMARY KEY, owner text NOT NULL, "
     "epoch bigint NOT NULL, since timestamptz NOT NULL DEFAULT now())"},
    {"to_regclass('headgate.relay_cursors') IS NULL",
     "CREATE TABLE IF NOT EXISTS headgate.relay_cursors (scope text NOT NULL, sink text NOT NULL, "
     "tenant text NOT NULL, snap_token text NOT NULL, xid bigint NOT NULL, part bigint NOT NULL, "
     "more_parts boolean NOT NULL, sequence bigint NOT NULL, incarnation text NOT NULL, "
     "updated_at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (scope, sink, tenant)) WITH (fillfactor = 70)"},
    {"(SELECT count(*) FROM pg_attribute WHERE attrelid = to_regclass('headgate.relay_cursors') AND NOT attisdropped "
     "AND attname IN ('identity', 'snapshot', 'described_xid', 'described_sequence')) < 4",
     "ALTER TABLE headgate.relay_cursors ADD COLUMN IF NOT EXISTS identity text NOT NULL DEFAULT '', "
     "ADD COLUMN IF NOT EXISTS snapshot text NOT NULL DEFAULT '', "
     "ADD COLUMN IF NOT EXISTS described_xid bigint NOT NULL DEFAULT 0, "
     "ADD COLUMN IF NOT EXISTS described_sequence bigint NOT NULL DEFAULT 0"},
};

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

// These two answer the epoch that the store holds, 0 without one, and change something only when it is ours.
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

constexpr const char* kForget =
    "WITH owner AS MATERIALIZED (SELECT epoch FROM headgate.relay_owners WHERE scope = $1 FOR SHARE), "
    "gone AS (DELETE FROM headgate.relay_cursors USING owner WHERE owner.epoch = $2 AND scope = $1 AND sink = $3 "
    "AND tenant = $4) "
    "SELECT coalesce((SELECT epoch FROM owner), 0)";

std::string commit_statement() {
  std::string sql = kCommit;
  if (!guarded(Guard::kOwnerEpoch)) sql.replace(sql.find("owner.epoch = $2"), 16, "$2 = $2");
  return sql;
}

// The text form of an array; every element is quoted.
class ArrayText {
 public:
  void add(const std::string& value) {
    text_ += text_.empty() ? "{\"" : ",\"";
    for (const char c : value) {
      if (c == '"' || c == '\\') text_ += '\\';
      text_ += c;
    }
    text_ += '"';
  }
  std::string text() const { return text_.empty() ? "{}" : text_ + "}"; }

 private:
  std::string text_;
};

// Time-outs that the uri does not set itself: one attempt to connect, and how long sent data may stay unacknowledged.
std::string with_timeouts(const PostgresStoreSettings& settings) {
  std::string text = settings.uri;
  const bool is_uri = text.rfind("postgres://", 0) == 0 || text.rfind("postgresql://", 0) == 0;
  const auto add = [&](const std::string& key, int64_t value) {
    if (text.find(key + "=") != std::string::npos) return;
    const char* separator = !is_uri ? " " : text.find('?') == std::string::npos ? "?" : "&";
    text += fmt::format("{}{}={}", separator, key, value);
  };
  add("connect_timeout", std::max<int64_t>(2, settings.connect_timeout.count() / 1000));
  add("tcp_user_timeout", settings.statement_timeout.count());
  return text;
}

std::string trimmed(std::string text) {
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

// REQUIRES: called inside a catch block.
Status status_of_exception(const std::string& what) {
  try {
    throw;
  } catch (const pqxx::broken_connection&) {
    return unavailable("cannot {}: the PostgreSQL of the token store cannot be reached; check tokens.postgres.uri",
                       what);
  } catch (const pqxx::in_doubt_error&) {
    return unavailable("cannot {}: the connection to the token store broke during COMMIT", what);
  } catch (const pqxx::insufficient_privilege& error) {
    return status_of(StatusCode::kPermissionDenied, "cannot {}: {}; refused was: {}", what, trimmed(error.what()),
                     error.query());
  } catch (const pqxx::insufficient_resources& error) {
    return status_of(StatusCode::kResourceExhausted, "cannot {}: {}", what, trimmed(error.what()));
  } catch (const std::exception& error) {
    return unavailable("cannot {}: {}", what, trimmed(error.what()));
  }
}

class PostgresStore : public TokenStore {
 public:
  PostgresStore(std::string scope, PostgresStoreSettings settings)
      : scope_(std::move(scope)), settings_(std::move(settings)) {}

  Status initialize() {
    return run("prepare the tables", [](pqxx::connection& connection) {
      prepare_tables(connection);
      return ok_status();
    });
  }

  StatusOr<Fence> acquire(const std::string& owner) override {
    Fence fence;
    HG_RETURN_IF_ERROR(run("take the store over", [&](pqxx::connection& connection) REQUIRES_LOCK(mutex_) {
      pqxx::nontransaction work(connection);
      fence.epoch = number(work.exec_params1(kAcquire, scope_, owner, static_cast<int64_t>(least_epoch()))[0]);
      owner_ = owner;
      return ok_status();
    }));
    return fence;
  }

  StatusOr<std::map<std::string, Cursor>> load(const std::string& sink) override {
    std::map<std::string, Cursor> cursors;
    HG_RETURN_IF_ERROR(run("read the cursors", [&](pqxx::connection& connection) {
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
    ArrayText tenants, tokens, xids, parts, more, sequences, incarnations, identities, snapshots;
    for (const auto& [tenant, cursor] : updates) {
      tenants.add(tenant);
      tokens.add(cursor.snap_token);
      xids.add(std::to_string(static_cast<int64_t>(cursor.xid)));
      parts.add(std::to_string(cursor.part));
      more.add(cursor.more_parts ? "t" : "f");
      sequences.add(std::to_string(static_cast<int64_t>(cursor.sequence)));
      incarnations.add(cursor.incarnation);
      identities.add(cursor.identity);
      snapshots.add(cursor.snapshot);
    }
    return run("commit", [&](pqxx::connection& connection) REQUIRES_LOCK(mutex_) -> Status {
      HG_RETURN_IF_ERROR(losses_.tell(sink));
      const uint64_t stored = stored_epoch([&] {
        pqxx::nontransaction work(connection);
        return work.exec_params1(commit_, scope_, static_cast<int64_t>(fence.epoch), sink, tenants.text(),
                                 tokens.text(), xids.text(), parts.text(), more.text(), sequences.text(),
                                 incarnations.text(), identities.text(), snapshots.text());
      });
      if (ownership(stored, fence) == Ownership::kOurs) return ok_status();
      HG_RETURN_IF_ERROR(claim(connection, stored, fence));
      return losses_.tell(sink);
    });
  }

  Status forget(const std::string& sink, const std::string& tenant, const Fence& fence) override {
    return run("forget a tenant", [&](pqxx::connection& connection) REQUIRES_LOCK(mutex_) {
      const uint64_t stored = stored_epoch([&] {
        pqxx::nontransaction work(connection);
        return work.exec_params1(kForget, scope_, static_cast<int64_t>(fence.epoch), sink, tenant);
      });
      // What was lost holds no tenant either.
      return ownership(stored, fence) == Ownership::kOurs ? ok_status() : claim(connection, stored, fence);
    });
  }

  Status ping() override {
    return run("reach the token store", [](pqxx::connection& connection) {
      pqxx::nontransaction work(connection);
      return work.exec1("SELECT pg_is_in_recovery()")[0].as<bool>()
                 ? unavailable("the PostgreSQL of the token store is a read-only standby")
                 : ok_status();
    });
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

  static void prepare_tables(pqxx::connection& connection) {
    pqxx::work work(connection);
    // Two relays that start together would race for the same catalogue rows.
    work.exec("SELECT pg_advisory_xact_lock(4839201, 1)");
    for (const Piece& piece : kPieces) {
      if (work.exec1(fmt::format("SELECT {}", piece.missing))[0].as<bool>()) work.exec(piece.make);
    }
    work.commit();
  }

  // The store is not ours as it stands: FAILED_PRECONDITION when a newer owner is there, else it was lost.
  Status claim(pqxx::connection& connection, uint64_t stored, const Fence& fence) REQUIRES_LOCK(mutex_) {
    if (ownership(stored, fence) == Ownership::kTakenOver) return fenced(fence.epoch);
    prepare_tables(connection);
    pqxx::nontransaction work(connection);
    if (work.exec_params(kClaim, scope_, owner_, static_cast<int64_t>(fence.epoch)).empty()) return fenced(fence.epoch);
    losses_.add();
    return ok_status();
  }

  // libpqxx 6 would reconnect by itself in the middle of our work; a broken connection is thrown away instead, and the
  // next call opens a fresh one.
  Status run(const std::string& what, const std::function<Status(pqxx::connection&)>& work) {
    MutexLock lock(mutex_);
    try {
      if (connection_ == nullptr || !connection_->is_open()) connect();
      const auto watch = watchdog_.watch(connection_->sock(), settings_.statement_timeout + kGrace);
      return work(*connection_);
    } catch (...) {
      Status status = status_of_exception(what);
      connection_.reset();
      return status;
    }
  }

  void connect() REQUIRES_LOCK(mutex_) {
    connection_.reset();
    auto connection = std::make_unique<pqxx::connection>(with_timeouts(settings_));
    const auto watch = watchdog_.watch(connection->sock(), settings_.statement_timeout + kGrace);
    connection->set_variable("statement_timeout", std::to_string(settings_.statement_timeout.count()));
    connection->set_variable("application_name", "'headgate-relay'");
    connection_ = std::move(connection);
  }

  const std::string scope_;
  const PostgresStoreSettings settings_;
  const std::string commit_ = commit_statement();
  SocketWatchdog watchdog_;  // the server's own limit is of no use when the server is silent
  Mutex mutex_;
  std::string owner_ GUARDED_BY(mutex_);
  Losses losses_ GUARDED_BY(mutex_);
  std::unique_ptr<pqxx::connection> connection_ GUARDED_BY(mutex_);
};

}  // namespace

StatusOr<std::unique_ptr<TokenStore>> make_postgres_store(const std::string& scope,
                                                          const PostgresStoreSettings& settings) {
  if (settings.uri.empty()) return invalid_argument("tokens.postgres.uri is empty");
  auto store = std::make_unique<PostgresStore>(scope, settings);
  HG_RETURN_IF_ERROR(store->initialize());
  return store;
}

}  // namespace headgate::relay
