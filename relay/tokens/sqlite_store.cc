// Cursors in one sqlite file, for a single relay. The file is locked for as long as the store is open.
#include "base/mutex.h"
#include "relay/tokens/ownership.h"
#include "relay/tokens/sqlite_file.h"
#include "relay/tokens/store_settings.h"

namespace headgate::relay {

namespace {

using Statement = SqliteFile::Statement;

// What came later than the cursors stands in a table of its own, so that an older relay still finds the table that it
// knows. A detail belongs to a cursor with the same xid and sequence; the older relay leaves it behind.
constexpr const char* kSchema = R"(
  CREATE TABLE IF NOT EXISTS owners (scope TEXT PRIMARY KEY, owner TEXT NOT NULL, epoch INTEGER NOT NULL)
    WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS cursors (
    scope TEXT NOT NULL, sink TEXT NOT NULL, tenant TEXT NOT NULL, snap_token TEXT NOT NULL, xid INTEGER NOT NULL,
    part INTEGER NOT NULL, more_parts INTEGER NOT NULL, sequence INTEGER NOT NULL, incarnation TEXT NOT NULL,
    PRIMARY KEY (scope, sink, tenant)) WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS cursor_details (
    scope TEXT NOT NULL, sink TEXT NOT NULL, tenant TEXT NOT NULL, xid INTEGER NOT NULL, sequence INTEGER NOT NULL,
    identity TEXT NOT NULL, snapshot TEXT NOT NULL, PRIMARY KEY (scope, sink, tenant)) WITHOUT ROWID;
)";

constexpr const char* kLoadCursors = R"(
  SELECT c.tenant, c.snap_token, c.xid, c.part, c.more_parts, c.sequence, c.incarnation, d.identity, d.snapshot
  FROM cursors c LEFT JOIN cursor_details d ON d.scope = c.scope AND d.sink = c.sink AND d.tenant = c.tenant
    AND d.xid = c.xid AND d.sequence = c.sequence
  WHERE c.scope = ?1 AND c.sink = ?2)";

constexpr const char* kUpsert = R"(
  INSERT INTO cursors VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
  ON CONFLICT (scope, sink, tenant) DO UPDATE SET
    snap_token = excluded.snap_token, xid = excluded.xid, part = excluded.part, more_parts = excluded.more_parts,
    sequence = excluded.sequence, incarnation = excluded.incarnation)";

constexpr const char* kUpsertDetail = R"(
  INSERT INTO cursor_details VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
  ON CONFLICT (scope, sink, tenant) DO UPDATE SET
    xid = excluded.xid, sequence = excluded.sequence, identity = excluded.identity, snapshot = excluded.snapshot)";

std::string column_text(sqlite3_stmt* statement, int column) {
  const auto* text = reinterpret_cast<const char*>(sqlite3_column_text(statement, column));
  return text == nullptr ? std::string() : std::string(text, sqlite3_column_bytes(statement, column));
}

void set(const Statement& statement, int index, const std::string& text) {
  sqlite3_bind_text(statement.get(), index, text.data(), static_cast<int>(text.size()), SQLITE_TRANSIENT);
}
void set(const Statement& statement, int index, uint64_t number) {
  sqlite3_bind_int64(statement.get(), index, static_cast<int64_t>(number));
}

uint64_t column_number(sqlite3_stmt* statement, int column) {
  return static_cast<uint64_t>(sqlite3_column_int64(statement, column));
}

class SqliteStore : public TokenStore {
 public:
  SqliteStore(std::string scope, const std::string& path) : scope_(std::move(scope)), file_(path, kSchema) {}

  Status initialize() {
    MutexLock lock(mutex_);
    return file_.open();
  }

  StatusOr<Fence> acquire(const std::string& owner) override {
    MutexLock lock(mutex_);
    HG_RETURN_IF_ERROR(keep_file());
    HG_ASSIGN_OR_RETURN(const uint64_t stored, stored_epoch());
    const Fence fence{epoch_after(stored)};
    owner_ = owner;
    HG_RETURN_IF_ERROR(claim(fence));
    return fence;
  }

  StatusOr<std::map<std::string, Cursor>> load(const std::string& sink) override {
    MutexLock lock(mutex_);
    HG_ASSIGN_OR_RETURN(Statement statement, file_.prepare(kLoadCursors));
    set(statement, 1, scope_);
    set(statement, 2, sink);
    std::map<std::string, Cursor> cursors;
    int code = SQLITE_ROW;
    while ((code = sqlite3_step(statement.get())) == SQLITE_ROW) {
      sqlite3_stmt* row = statement.get();
      cursors[column_text(row, 0)] = {.snap_token = column_text(row, 1),
                                      .xid = column_number(row, 2),
                                      .part = static_cast<uint32_t>(column_number(row, 3)),
                                      .more_parts = column_number(row, 4) != 0,
                                      .sequence = column_number(row, 5),
                                      .incarnation = column_text(row, 6),
                                      .identity = column_text(row, 7),
                                      .snapshot = column_text(row, 8)};
    }
    if (code != SQLITE_DONE) return file_.failure("read the cursors", code);
    return cursors;
  }

  Status commit(const std::string& sink, std::span<const CursorUpdate> updates, const Fence& fence) override {
    MutexLock lock(mutex_);
    HG_RETURN_IF_ERROR(own(fence));
    HG_RETURN_IF_ERROR(losses_.tell(sink));
    return file_.transaction([&]() REQUIRES_LOCK(mutex_) { return write(sink, updates); });
  }

  Status ping() override {
    MutexLock lock(mutex_);
    HG_RETURN_IF_ERROR(keep_file());
    return file_.transaction([] { return ok_status(); });
  }

 private:
  Status run(const Statement& statement, const char* what) REQUIRES_LOCK(mutex_) {
    const int code = sqlite3_step(statement.get());
    return code == SQLITE_DONE ? ok_status() : file_.failure(what, code);
  }

  Status write(const std::string& sink, std::span<const CursorUpdate> updates) REQUIRES_LOCK(mutex_) {
    HG_ASSIGN_OR_RETURN(Statement cursors, file_.prepare(kUpsert));
    HG_ASSIGN_OR_RETURN(Statement details, file_.prepare(kUpsertDetail));
    for (const auto& [tenant, cursor] : updates) {
      for (const Statement* statement : {&cursors, &details}) {
        sqlite3_reset(statement->get());
        set(*statement, 1, scope_);
        set(*statement, 2, sink);
        set(*statement, 3, tenant);
      }
      set(cursors, 4, cursor.snap_token);
      set(cursors, 5, cursor.xid);
      set(cursors, 6, uint64_t{cursor.part});
      set(cursors, 7, uint64_t{cursor.more_parts});
      set(cursors, 8, cursor.sequence);
      set(cursors, 9, cursor.incarnation);
      HG_RETURN_IF_ERROR(run(cursors, "commit"));
      set(details, 4, cursor.xid);
      set(details, 5, cursor.sequence);
      set(details, 6, cursor.identity);
      set(details, 7, cursor.snapshot);
      HG_RETURN_IF_ERROR(run(details, "commit"));
    }
    return ok_status();
  }

  Status keep_file() REQUIRES_LOCK(mutex_) {
    HG_ASSIGN_OR_RETURN(const SqliteFile::Fate fate, file_.look_after());
    if (fate == SqliteFile::Fate::kLost) losses_.add();
    return ok_status();
  }

  // Makes sure that the store is ours, also over a file that had to be made anew.
  Status own(const Fence& fence) REQUIRES_LOCK(mutex_) {
    HG_RETURN_IF_ERROR(keep_file());
    HG_ASSIGN_OR_RETURN(const uint64_t stored, stored_epoch());
    switch (ownership(stored, fence)) {
      case Ownership::kOurs: return ok_status();
      case Ownership::kTakenOver: return fenced(fence.epoch);
      case Ownership::kLost: losses_.add(); return claim(fence);
    }
    return ok_status();
  }

  StatusOr<uint64_t> stored_epoch() REQUIRES_LOCK(mutex_) {
    HG_ASSIGN_OR_RETURN(Statement statement, file_.prepare("SELECT epoch FROM owners WHERE scope = ?1"));
    set(statement, 1, scope_);
    const int code = sqlite3_step(statement.get());
    if (code != SQLITE_ROW && code != SQLITE_DONE) return file_.failure("read the epoch", code);
    return code == SQLITE_ROW ? column_number(statement.get(), 0) : 0;
  }

  Status claim(const Fence& fence) REQUIRES_LOCK(mutex_) {
    return file_.transaction([&]() REQUIRES_LOCK(mutex_) -> Status {
      HG_ASSIGN_OR_RETURN(Statement statement,
                          file_.prepare("INSERT INTO owners VALUES (?1, ?2, ?3) ON CONFLICT (scope) DO UPDATE SET "
                                        "owner = excluded.owner, epoch = excluded.epoch"));
      set(statement, 1, scope_);
      set(statement, 2, owner_);
      set(statement, 3, fence.epoch);
      return run(statement, "take the store over");
    });
  }

  const std::string scope_;
  Mutex mutex_;
  std::string owner_ GUARDED_BY(mutex_);
  Losses losses_ GUARDED_BY(mutex_);
  SqliteFile file_ GUARDED_BY(mutex_);
};

}  // namespace

StatusOr<std::unique_ptr<TokenStore>> make_sqlite_store(const std::string& scope, const SqliteStoreSettings& settings) {
  auto store = std::make_unique<SqliteStore>(scope, settings.path);
  HG_RETURN_IF_ERROR(store->initialize());
  return store;
}

}  // namespace headgate::relay
