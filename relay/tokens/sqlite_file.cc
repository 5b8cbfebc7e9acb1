#include "relay/tokens/sqlite_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <random>

#include "base/clock.h"
#include "base/log.h"

namespace headgate::relay {

namespace {

// Pragmas of every connection; the last statement takes the lock.
constexpr const char* kPragmas = R"(
  PRAGMA locking_mode = EXCLUSIVE;
  PRAGMA journal_mode = WAL;
  PRAGMA synchronous = FULL;
  PRAGMA journal_size_limit = 4194304;
  BEGIN IMMEDIATE; COMMIT;
)";
// The bytes that sqlite locks, see its file format.
constexpr off_t kLockBegin = 0x40000000;
constexpr off_t kLockBytes = 512;

// 0 when nothing is there.
uint64_t inode_of(const std::string& path) {
  struct stat found {};
  return stat(path.c_str(), &found) == 0 ? found.st_ino : 0;
}

// REQUIRES: the file at the path is none that this process has open: closing a descriptor would end its locks.
bool locked_by_another(const std::string& path) {
  const int file = open(path.c_str(), O_RDWR | O_CLOEXEC);
  if (file < 0) return false;
  struct flock lock {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  lock.l_start = kLockBegin;
  lock.l_len = kLockBytes;
  const bool locked = fcntl(file, F_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
  close(file);
  return locked;
}

Status sync_path(const std::string& path) {
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  const bool good = file >= 0 && fsync(file) == 0;
  const std::string error = std::strerror(errno);
  if (file >= 0) close(file);
  return good ? ok_status() : unavailable("cannot sync {}: {}", path, error);
}

std::string folder_of(const std::string& path) {
  const std::string folder = std::filesystem::path(path).parent_path().string();
  return folder.empty() ? "." : folder;
}

// The first field of the first row, or what is wrong with the statement.
std::string text_of(sqlite3* database, const char* sql) {
  std::string text;
  const auto take = [](void* out, int, char** values, char**) {
    if (values[0] != nullptr) *static_cast<std::string*>(out) = values[0];
    return 0;
  };
  return sqlite3_exec(database, sql, take, &text, nullptr) == SQLITE_OK ? text : sqlite3_errmsg(database);
}

int64_t number_of(sqlite3* database, const char* sql) {
  return std::strtoll(text_of(database, sql).c_str(), nullptr, 10);
}

}  // namespace

SqliteFile::~SqliteFile() {
  if (database_ != nullptr && (moved() || overwritten())) close_unmerged();
}

// Without merging the log into the file, which is not ours any more.
void SqliteFile::close_unmerged() {
  sqlite3_db_config(database_.get(), SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, nullptr);
  database_.reset();
}

Status SqliteFile::open() {
  HG_ASSIGN_OR_RETURN(Database database, connect());
  adopt(std::move(database));
  return ok_status();
}

StatusOr<SqliteFile::Database> SqliteFile::connect() const {
  sqlite3* raw = nullptr;
  const int code =
      sqlite3_open_v2(path_.c_str(), &raw, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_FULLMUTEX, nullptr);
  Database database(raw);
  if (code != SQLITE_OK) {
    return unavailable("cannot open the token store {}: {}; check tokens.sqlite.path and that its folder is writable",
                       path_, sqlite3_errstr(code));
  }
  sqlite3_extended_result_codes(raw, 1);
  HG_RETURN_IF_ERROR(execute(raw, kPragmas, "open"));
  HG_RETURN_IF_ERROR(execute(raw, schema_, "open"));
  // A file that was put back beside a log of another one, say, may be a mix of both.
  if (const std::string fault = text_of(raw, "PRAGMA quick_check(1)"); fault != "ok") {
    return unavailable(
        "token store {}: the file is damaged ({}); put a good copy in its place, without a -wal file beside "
        "it, or move it away: then the relay begins as one without cursors does",
        path_, fault);
  }
  if (number_of(raw, "PRAGMA application_id") == 0) {
    // Tells this file from any other that has seen as many transactions.
    const uint32_t instance = std::random_device()() | 1;
    HG_RETURN_IF_ERROR(
        execute(raw, fmt::format("PRAGMA application_id = {}", static_cast<int32_t>(instance)).c_str(), "open"));
  }
  return database;
}

void SqliteFile::adopt(Database database) {
  database_ = std::move(database);
  generation_ = static_cast<uint32_t>(number_of(database_.get(), "PRAGMA user_version"));
  known_ = trace();
}

bool SqliteFile::moved() const {
  int moved = 0;
  sqlite3_file_control(database_.get(), "main", SQLITE_FCNTL_HAS_MOVED, &moved);
  return moved != 0 || inode_of(path_ + "-wal") != known_.log_inode;
}

bool SqliteFile::overwritten() const {
  const Trace now = trace();
  return now.file != known_.file || now.log != known_.log || now.log_bytes < known_.log_bytes;
}

SqliteFile::Trace SqliteFile::trace() const {
  Trace found;
  // Through sqlite's own descriptors: closing another one of the same file would end its locks.
  const auto file_of = [&](int which) -> sqlite3_file* {
    sqlite3_file* file = nullptr;
    sqlite3_file_control(database_.get(), "main", which, &file);
    return file != nullptr && file->pMethods != nullptr ? file : nullptr;
  };
  if (sqlite3_file* file = file_of(SQLITE_FCNTL_FILE_POINTER)) {
    file->pMethods->xRead(file, found.file.data(), static_cast<int>(found.file.size()), 0);
  }
  if (sqlite3_file* log = file_of(SQLITE_FCNTL_JOURNAL_POINTER)) {
    sqlite3_int64 bytes = 0;
    log->pMethods->xRead(log, found.log.data(), static_cast<int>(found.log.size()), 0);
    log->pMethods->xFileSize(log, &bytes);
    found.log_bytes = bytes;
  }
  found.log_inode = inode_of(path_ + "-wal");
  return found;
}

StatusOr<SqliteFile::Fate> SqliteFile::look_after() {
  if (database_ == nullptr) {
    HG_RETURN_IF_ERROR(open());
    return Fate::kLost;
  }
  if (moved()) {
    HG_RETURN_IF_ERROR(restore());
    return Fate::kRestored;
  }
  if (!overwritten()) return Fate::kUntouched;
  HG_RETURN_IF_ERROR(start_anew());
  return Fate::kLost;
}

// What is open still holds everything, whatever stands at the path.
Status SqliteFile::restore() {
  int moved_file = 0;
  sqlite3_file_control(database_.get(), "main", SQLITE_FCNTL_HAS_MOVED, &moved_file);
  const bool replaced = moved_file != 0 && inode_of(path_) != 0;
  if (replaced && locked_by_another(path_)) {
    return unavailable(
        "the token store {} was replaced while it was open, and another relay holds the new file; stop "
        "one of the two relays",
        path_);
  }
  const std::string copy = path_ + ".rescue";
  unlink(copy.c_str());
  HG_ASSIGN_OR_RETURN(Statement vacuum, prepare("VACUUM INTO ?1"));
  sqlite3_bind_text(vacuum.get(), 1, copy.data(), static_cast<int>(copy.size()), SQLITE_TRANSIENT);
  if (const int code = sqlite3_step(vacuum.get()); code != SQLITE_DONE) {
    const Status status = failure("put the file back, which was deleted or replaced while it was open", code);
    unlink(copy.c_str());
    return status;
  }
  vacuum.reset();
  HG_RETURN_IF_ERROR(sync_path(copy));
  if (replaced) HG_RETURN_IF_ERROR(set_aside("replaced"));
  unlink((path_ + "-wal").c_str());
  if (rename(copy.c_str(), path_.c_str()) != 0) {
    return unavailable("cannot restore the token store {}: {}", path_, std::strerror(errno));
  }
  HG_RETURN_IF_ERROR(sync_path(folder_of(path_)));
  HG_ASSIGN_OR_RETURN(Database fresh, connect());
  close_unmerged();
  adopt(std::move(fresh));
  log_error("token_store_restored", {{"path", path_},
                                     {"why", replaced ? "another file was put in its place" : "the file was deleted"},
                                     {"effect", "nothing is lost: the relay held its content"}});
  return ok_status();
}

// The pages that sqlite has not read yet are of another file: nothing of it can be trusted.
Status SqliteFile::start_anew() {
  HG_RETURN_IF_ERROR(set_aside("overwritten"));
  unlink((path_ + "-wal").c_str());
  close_unmerged();
  return open();
}

Status SqliteFile::set_aside(const char* what) {
  const std::string aside = fmt::format("{}.{}-{}", path_, what, system_clock().unix_micros() / 1'000'000);
  if (rename(path_.c_str(), aside.c_str()) != 0) {
    return unavailable("the token store {} was {} while it was open and cannot be moved out of the way: {}", path_,
                       what, std::strerror(errno));
  }
  log_error("token_store_set_aside",
            {{"path", path_}, {"why", fmt::format("the file was {} while the relay ran", what)}, {"kept_as", aside}});
  return ok_status();
}

StatusOr<SqliteFile::Statement> SqliteFile::prepare(const char* sql) {
  if (database_ == nullptr) return unavailable("the token store {} is not open", path_);
  sqlite3_stmt* statement = nullptr;
  const int code = sqlite3_prepare_v2(database_.get(), sql, -1, &statement, nullptr);
  if (code != SQLITE_OK) return failure("prepare a statement", code);
  return Statement(statement);
}

Status SqliteFile::transaction(const std::function<Status()>& work) {
  HG_RETURN_IF_ERROR(execute("BEGIN IMMEDIATE", "begin"));
  const uint32_t next = (generation_ + 1) & 0x7fffffff;
  Status status = work();
  if (status.ok()) status = execute(fmt::format("PRAGMA user_version = {}", next).c_str(), "commit");
  if (status.ok()) status = execute("COMMIT", "commit");
  // Also after a failed COMMIT: sqlite leaves the transaction open when the disk is full.
  if (!status.ok() && sqlite3_get_autocommit(database_.get()) == 0) {
    sqlite3_exec(database_.get(), "ROLLBACK", nullptr, nullptr, nullptr);
  }
  if (status.ok()) generation_ = next;
  known_ = trace();
  return status;
}

Status SqliteFile::execute(sqlite3* database, const char* sql, const char* what) const {
  if (database == nullptr) return unavailable("the token store {} is not open", path_);
  const int code = sqlite3_exec(database, sql, nullptr, nullptr, nullptr);
  return code == SQLITE_OK ? ok_status() : failure(database, what, code);
}

Status SqliteFile::failure(const char* what, int code) const { return failure(database_.get(), what, code); }

Status SqliteFile::failure(sqlite3* database, const char* what, int code) const {
  switch (code & 0xff) {
    case SQLITE_FULL:
      return status_of(StatusCode::kResourceExhausted,
                       "token store {}: cannot {}: its disk is full; free some space, delivery stops at "
                       "commit.uncommitted_max",
                       path_, what);
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return unavailable(
          "token store {}: cannot {}: it is locked by another relay; one sqlite file serves one relay, "
          "use tokens.kind postgres for several",
          path_, what);
    default: return unavailable("token store {}: cannot {}: {}", path_, what, sqlite3_errmsg(database));
  }
}

}  // namespace headgate::relay
