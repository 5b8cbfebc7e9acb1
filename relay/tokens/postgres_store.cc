// Cursors in PostgreSQL, schema `headgate`. One statement a commit; the row of the owner is share-locked by it, so a
// take-over and a commit never overlap.
#include <pqxx/pqxx>

#include "base/guard.h"
#include "base/mutex.h"
#include "base/socket_watchdog.h"
#include "relay/tokens/fenced.h"
#include "relay/tokens/store_settings.h"

namespace headgate::relay {

namespace {

constexpr Duration kGrace{2'000};

constexpr const char* kSchema = R"(
  CREATE SCHEMA IF NOT EXISTS headgate;
  CREATE TABLE IF NOT EXISTS headgate.relay_owners (
    scope text PRIMARY KEY, owner text NOT NULL, epoch bigint NOT NULL, since timestamptz NOT NULL DEFAULT now());
  CREATE TABLE IF NOT EXISTS headgate.relay_cursors (
    scope text NOT NULL, sink text NOT NULL, tenant text NOT NULL, snap_token text NOT NULL, xid bigint NOT NULL,
    part bigint NOT NULL, more_parts boolean NOT NULL, sequence bigint NOT NULL, incarnation text NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (scope, sink, tenant)) WITH (fillfactor = 70);
)";

constexpr const char* kAcquire =
    "INSERT INTO headgate.relay_owners AS o (scope, owner, epoch) VALUES ($1, $2, 1) "
    "ON CONFLICT (scope) DO UPDATE SET owner = excluded.owner, epoch = o.epoch + 1, since = now() RETURNING epoch";

constexpr const char* kLoad =
    "SELECT tenant, snap_token, xid, part, more_parts, sequence, incarnation FROM headgate.relay_cursors "
    "WHERE scope = $1 AND sink = $2";

constexpr const char* kCommit =
    "WITH owner AS (SELECT 1 FROM headgate.relay_owners WHERE scope = $1 AND epoch = $2 FOR SHARE) "
    "INSERT INTO headgate.relay_cursors "
    "(scope, sink, tenant, snap_token, xid, part, more_parts, sequence, incarnation) "
    "SELECT $1, $3, u.* FROM owner, unnest($4::text[], $5::text[], $6::bigint[], $7::bigint[], $8::boolean[], "
    "$9::bigint[], $10::text[]) AS u "
    "ON CONFLICT (scope, sink, tenant) DO UPDATE SET snap_token = excluded.snap_token, xid = excluded.xid, "
    "part = excluded.part, more_parts = excluded.more_parts, sequence = excluded.sequence, "
    "incarnation = excluded.incarnation, updated_at = now()";

// Reports whether the fence holds, and deletes only then.
constexpr const char* kForget =
    "WITH owner AS (SELECT 1 FROM headgate.relay_owners WHERE scope = $1 AND epoch = $2 FOR SHARE), "
    "gone AS (DELETE FROM headgate.relay_cursors USING owner WHERE scope = $1 AND sink = $3 AND tenant = $4) "
    "SELECT count(*) FROM owner";

std::string commit_statement() {
  std::string sql = kCommit;
  if (!guarded(Guard::kOwnerEpoch)) sql.replace(sql.find("epoch = $2"), 10, "$2 = $2");
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

// REQUIRES: called inside a catch block.
Status status_of_exception(const std::string& what) {
  try {
    throw;
  } catch (const pqxx::broken_connection&) {
    return unavailable("cannot {}: the PostgreSQL of the token store cannot be reached; check tokens.postgres.uri",
                       what);
  } catch (const pqxx::in_doubt_error&) {
    return unavailable("cannot {}: the connection to the token store broke during COMMIT", what);
  } catch (const pqxx::sql_error& error) {
    const std::string state = error.sqlstate();
    const std::string text = fmt::format("cannot {}: SQLSTATE {}: {}", what, state, error.what());
    if (state == "53100" || state == "53200") return make_status(StatusCode::kResourceExhausted, text);
    if (state == "42501" || state == "3D000") return make_status(StatusCode::kPermissionDenied, text);
    return make_status(StatusCode::kUnavailable, text);
  } catch (const std::exception& error) {
    return unavailable("cannot {}: {}", what, error.what());
  }
}

class PostgresStore : public TokenStore {
 public:
  PostgresStore(std::string scope, PostgresStoreSettings settings)
      : scope_(std::move(scope)), settings_(std::move(settings)) {}

  Status initialize() {
    return run("prepare the tables", [](pqxx::connection& connection) {
      pqxx::work work(connection);
      // Two relays that start together would race for the same catalogue rows.
      work.exec("SELECT pg_advisory_xact_lock(4839201, 1)");
      work.exec(kSchema);
      work.commit();
      return ok_status();
    });
  }

  StatusOr<Fence> acquire(const std::string& owner) override {
    Fence fence;
    HG_RETURN_IF_ERROR(run("take the store over", [&](pqxx::connection& connection) {
      pqxx::nontransaction work(connection);
      fence.epoch = static_cast<uint64_t>(work.exec_params1(kAcquire, scope_, owner)[0].as<int64_t>());
      return ok_status();
    }));
    return fence;
  }

  StatusOr<std::map<std::string, Cursor>> load(const std::string& sink) override {
    std::map<std::string, Cursor> cursors;
    HG_RETURN_IF_ERROR(run("read the cursors", [&](pqxx::connection& connection) {
      pqxx::nontransaction work(connection);
      for (const auto& row : work.exec_params(kLoad, scope_, sink)) {
        cursors[row[0].c_str()] = {
            row[1].c_str(),    static_cast<uint64_t>(row[2].as<int64_t>()), static_cast<uint32_t>(row[3].as<int64_t>()),
            row[4].as<bool>(), static_cast<uint64_t>(row[5].as<int64_t>()), row[6].c_str()};
      }
      return ok_status();
    }));
    return cursors;
  }

  Status commit(const std::string& sink, std::span<const CursorUpdate> updates, const Fence& fence) override {
    if (updates.empty()) return ok_status();
    ArrayText tenants, tokens, xids, parts, more, sequences, incarnations;
    for (const auto& [tenant, cursor] : updates) {
      tenants.add(tenant);
      tokens.add(cursor.snap_token);
      xids.add(std::to_string(static_cast<int64_t>(cursor.xid)));
      parts.add(std::to_string(cursor.part));
      more.add(cursor.more_parts ? "t" : "f");
      sequences.add(std::to_string(static_cast<int64_t>(cursor.sequence)));
      incarnations.add(cursor.incarnation);
    }
    return run("commit", [&](pqxx::connection& connection) {
      pqxx::nontransaction work(connection);
      const pqxx::result result =
          work.exec_params(commit_, scope_, static_cast<int64_t>(fence.epoch), sink, tenants.text(), tokens.text(),
                           xids.text(), parts.text(), more.text(), sequences.text(), incarnations.text());
      return result.affected_rows() == 0 ? fenced(fence.epoch) : ok_status();
    });
  }

  Status forget(const std::string& sink, const std::string& tenant, const Fence& fence) override {
    return run("forget a tenant", [&](pqxx::connection& connection) {
      pqxx::nontransaction work(connection);
      const auto row = work.exec_params1(kForget, scope_, static_cast<int64_t>(fence.epoch), sink, tenant);
      return row[0].as<int64_t>() == 0 ? fenced(fence.epoch) : ok_status();
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
