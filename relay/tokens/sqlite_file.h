// One sqlite file that this process alone uses, locked as long as it is open, and what happens to it from outside:
// a file that is deleted, replaced or overwritten while it is open is noticed and repaired by look_after().
//
// Blocking, not thread-safe. UNAVAILABLE when the file cannot be used or is locked by another process,
// RESOURCE_EXHAUSTED when the disk is full.
#pragma once

#include <sqlite3.h>

#include <array>
#include <functional>
#include <memory>
#include <string>

#include "base/status.h"

namespace headgate::relay {

class SqliteFile {
 public:
  struct Finalize {
    void operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }
  };
  using Statement = std::unique_ptr<sqlite3_stmt, Finalize>;

  // `schema`: statements that make what is missing; run at every opening. The file is created by open().
  SqliteFile(std::string path, const char* schema) : path_(std::move(path)), schema_(schema) {}
  ~SqliteFile();
  SqliteFile(const SqliteFile&) = delete;
  SqliteFile& operator=(const SqliteFile&) = delete;

  Status open();

  enum class Fate {
    kUntouched,
    kRestored,  // it was deleted or replaced; a copy of what this process holds stands at the path again
    kLost,      // its content was overwritten; an empty one stands at the path, the other is kept beside it
  };
  // To be called before each use. What cannot be repaired now is tried again at the next call.
  StatusOr<Fate> look_after();

  StatusOr<Statement> prepare(const char* sql);
  // All or nothing, on disk when it returns.
  Status transaction(const std::function<Status()>& work);
  Status failure(const char* what, int code) const;

 private:
  struct Close {
    void operator()(sqlite3* database) const { sqlite3_close_v2(database); }
  };
  using Database = std::unique_ptr<sqlite3, Close>;
  // What the disk holds, as far as it shows who wrote it last: the heads of the file and of its log, which change with
  // every transaction that reaches the file, and how long the log is.
  struct Trace {
    std::array<char, 100> file{};
    std::array<char, 32> log{};
    int64_t log_bytes = 0;
    uint64_t log_inode = 0;
  };

  StatusOr<Database> connect() const;
  Status execute(const char* sql, const char* what) { return execute(database_.get(), sql, what); }
  Status execute(sqlite3* database, const char* sql, const char* what) const;
  Status failure(sqlite3* database, const char* what, int code) const;
  // The paths do not lead to what is open.
  bool moved() const;
  bool overwritten() const;
  Trace trace() const;
  void adopt(Database database);
  void close_unmerged();
  Status restore();
  Status start_anew();
  // Moves whatever stands at the path out of the way and tells the log.
  Status set_aside(const char* what);

  const std::string path_;
  const char* const schema_;
  Database database_;
  Trace known_;              // as we left it
  uint32_t generation_ = 0;  // rises with each transaction
};

}  // namespace headgate::relay
