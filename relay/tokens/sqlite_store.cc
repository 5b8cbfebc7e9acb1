// Cursors in one sqlite file, for a single relay. The file is locked for as long as the store is open.
#include <sqlite3.h>

#include "base/mutex.h"
#include "relay/tokens/fenced.h"
#include "relay/tokens/store_settings.h"

namespace headgate::relay {

namespace {

struct CloseDatabase {
  void operator()(sqlite3* database) const { sqlite3_close_v2(database); }
};
struct FinalizeStatement {
  void operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }
};
using Database = std::unique_ptr<sqlite3, CloseDatabase>;
using Statement = std::unique_ptr<sqlite3_stmt, FinalizeStatement>;

constexpr const char* kSchema = R"(
  PRAGMA locking_mode = EXCLUSIVE;
  PRAGMA journal_mode = WAL;
  PRAGMA synchronous = FULL;
  PRAGMA journal_size_limit = 4194304;
  CREATE TABLE IF NOT EXISTS owners (scope TEXT PRIMARY KEY, owner TEXT NOT NULL, epoch INTEGER NOT NULL)
    WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS cursors (
    scope TEXT NOT NULL, sink TEXT NOT NULL, tenant TEXT NOT NULL, snap_token TEXT NOT NULL, xid INTEGER NOT NULL,
    part INTEGER NOT NULL, more_parts INTEGER NOT NULL, sequence INTEGER NOT NULL, incarnation TEXT NOT NULL,
    PRIMARY KEY (scope, sink, tenant)) WITHOUT ROWID;
  BEGIN IMMEDIATE; COMMIT;
)";

constexpr const char* kUpsert = R"(
  INSERT INTO cursors VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
  ON CONFLICT (scope, sink, tenant) DO UPDATE SET
    snap_token = excluded.snap_token, xid = excluded.xid, part = excluded.part, more_parts = excluded.more_parts,
    sequence = excluded.sequence, incarnation = excluded.incarnation)";

std::string column_text(sqlite3_stmt* statement, int column) {
  const auto* text = reinterpret_cast<const char*>(sqlite3_column_text(statement, column));
  return text == nullptr ? std::string() : std::string(text, sqlite3_column_bytes(statement, column));
}

class SqliteStore : public TokenStore {
 public:
  SqliteStore(std::string scope, std::string path, Database database)
      : scope_(std::move(scope)), path_(std::move(path)), database_(std::move(database)) {}

  Status initialize() {
    MutexLock lock(mutex_);
    return execute(kSchema);
  }

  StatusOr<Fence> acquire(const std::string& owner) override {
    MutexLock lock(mutex_);
    HG_ASSIGN_OR_RETURN(Statement statement,
                        prepare("INSERT INTO owners VALUES (?1, ?2, 1) ON CONFLICT (scope) DO UPDATE SET "
                                "owner = excluded.owner, epoch = epoch + 1 RETURNING epoch"));
    bind(statement, 1, scope_);
    bind(statement, 2, owner);
    if (const int code = sqlite3_step(statement.get()); code != SQLITE_ROW) return failure("take the store over", code);
    Fence fence{0, static_cast<uint64_t>(sqlite3_column_int64(statement.get(), 0))};
    // The row is only durable once the statement has run to its end.
    if (const int code = sqlite3_step(statement.get()); code != SQLITE_DONE) return failure("take over", code);
    return fence;
  }

  StatusOr<std::map<std::string, Cursor>> load(const std::string& sink) override {
    MutexLock lock(mutex_);
    HG_ASSIGN_OR_RETURN(Statement statement,
                        prepare("SELECT tenant, snap_token, xid, part, more_parts, sequence, incarnation FROM cursors "
                                "WHERE scope = ?1 AND sink = ?2"));
    bind(statement, 1, scope_);
    bind(statement, 2, sink);
    std::map<std::string, Cursor> cursors;
    int code = SQLITE_ROW;
    while ((code = sqlite3_step(statement.get())) == SQLITE_ROW) {
      sqlite3_stmt* row = statement.get();
      cursors[column_text(row, 0)] = {column_text(row, 1),
                                      static_cast<uint64_t>(sqlite3_column_int64(row, 2)),
                                      static_cast<uint32_t>(sqlite3_column_int64(row, 3)),
                                      sqlite3_column_int(row, 4) != 0,
                                      static_cast<uint64_t>(sqlite3_column_int64(row, 5)),
                                      column_text(row, 6)};
    }
    if (code != SQLITE_DONE) return failure("read the cursors", code);
    return cursors;
  }

  Status commit(const std::string& sink, std::span<const CursorUpdate> updates, const Fence& fence) override {
    return in_transaction(fence, [&]() -> Status {
      HG_ASSIGN_OR_RETURN(Statement statement, prepare(kUpsert));
      for (const CursorUpdate& update : updates) {
        const Cursor& cursor = update.cursor;
        sqlite3_reset(statement.get());
        bind(statement, 1, scope_);
        bind(statement, 2, sink);
        bind(statement, 3, update.tenant);
        bind(statement, 4, cursor.snap_token);
        sqlite3_bind_int64(statement.get(), 5, static_cast<int64_t>(cursor.xid));
        sqlite3_bind_int64(statement.get(), 6, cursor.part);
        sqlite3_bind_int(statement.get(), 7, cursor.more_parts ? 1 : 0);
        sqlite3_bind_int64(statement.get(), 8, static_cast<int64_t>(cursor.sequence));
        bind(statement, 9, cursor.incarnation);
        if (const int code = sqlite3_step(statement.get()); code != SQLITE_DONE) return failure("commit", code);
      }
      return ok_status();
    });
  }

  Status forget(const std::string& sink, const std::string& tenant, const Fence& fence) override {
    return in_transaction(fence, [&]() -> Status {
      HG_ASSIGN_OR_RETURN(Statement statement,
                          prepare("DELETE FROM cursors WHERE scope = ?1 AND sink = ?2 AND tenant = ?3"));
      bind(statement, 1, scope_);
      bind(statement, 2, sink);
      bind(statement, 3, tenant);
      const int code = sqlite3_step(statement.get());
      return code == SQLITE_DONE ? ok_status() : failure("forget a tenant", code);
    });
  }

  Status ping() override {
    MutexLock lock(mutex_);
    return execute("BEGIN IMMEDIATE; COMMIT");
  }

 private:
  static void bind(const Statement& statement, int index, const std::string& text) {
    sqlite3_bind_text(statement.get(), index, text.data(), static_cast<int>(text.size()), SQLITE_TRANSIENT);
  }

  StatusOr<Statement> prepare(const char* sql) {
    sqlite3_stmt* statement = nullptr;
    const int code = sqlite3_prepare_v2(database_.get(), sql, -1, &statement, nullptr);
    if (code != SQLITE_OK) return failure("prepare a statement", code);
    return Statement(statement);
  }

  Status execute(const char* sql) {
    const int code = sqlite3_exec(database_.get(), sql, nullptr, nullptr, nullptr);
    return code == SQLITE_OK ? ok_status() : failure("open", code);
  }

  Status check(const Fence& fence) {
    HG_ASSIGN_OR_RETURN(Statement statement, prepare("SELECT epoch FROM owners WHERE scope = ?1"));
    bind(statement, 1, scope_);
    const int code = sqlite3_step(statement.get());
    if (code != SQLITE_ROW && code != SQLITE_DONE) return failure("read the epoch", code);
    const bool owns =
        code == SQLITE_ROW && static_cast<uint64_t>(sqlite3_column_int64(statement.get(), 0)) == fence.epoch;
    return owns ? ok_status() : fenced(fence.epoch);
  }

  Status in_transaction(const Fence& fence, const std::function<Status()>& work) {
    MutexLock lock(mutex_);
    HG_RETURN_IF_ERROR(execute("BEGIN IMMEDIATE"));
    Status status = check(fence);
    if (status.ok()) status = work();
    if (status.ok()) status = execute("COMMIT");
    // Also after a failed COMMIT: sqlite leaves the transaction open when the disk is full.
    if (!status.ok() && sqlite3_get_autocommit(database_.get()) == 0) {
      sqlite3_exec(database_.get(), "ROLLBACK", nullptr, nullptr, nullptr);
    }
    return status;
  }

  Status failure(const char* what, int code) const {
    const char* text = sqlite3_errmsg(database_.get());
    switch (code & 0xff) {
      case SQLITE_FULL:
        return status_of(StatusCode::kResourceExhausted,
                         "cannot {}: the disk of the token store {} is full; free "
                         "some space, delivery stops at commit.uncommitted_max",
                         what, path_);
      case SQLITE_BUSY:
      case SQLITE_LOCKED:
        return status_of(StatusCode::kFailedPrecondition,
                         "cannot {}: the token store {} is locked by another relay; one sqlite file serves one relay, "
                         "use tokens.kind postgres for several",
                         what, path_);
      default: return unavailable("cannot {} in the token store {}: {}", what, path_, text);
    }
  }

  const std::string scope_;
  const std::string path_;
  Mutex mutex_;
  Database database_;
};

}  // namespace

StatusOr<std::unique_ptr<TokenStore>> make_sqlite_store(const std::string& scope, const SqliteStoreSettings& settings) {
  sqlite3* raw = nullptr;
  const int code = sqlite3_open_v2(settings.path.c_str(), &raw,
                                   SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_FULLMUTEX, nullptr);
  Database database(raw);
  if (code != SQLITE_OK) {
    return unavailable("cannot open the token store {}: {}; check tokens.sqlite.path and that its folder is writable",
                       settings.path, sqlite3_errstr(code));
  }
  sqlite3_extended_result_codes(raw, 1);
  auto store = std::make_unique<SqliteStore>(scope, settings.path, std::move(database));
  HG_RETURN_IF_ERROR(store->initialize());
  return store;
}

}  // namespace headgate::relay
