// A PostgreSQL cluster of a test's own: for settings of the server, standbys, and histories that are lost or replaced.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "tests/support/program.h"

namespace headgate::testing {

// The address stays the same for the life of the object, whatever becomes of the data behind it.
class PostgresServer : public Program {
 public:
  // `settings` as for -c. fsync is off unless they say otherwise. Runs initdb; does not start.
  PostgresServer(const std::string& folder, const std::vector<std::string>& settings);
  // A streaming standby of a running server, by pg_basebackup. Does not start.
  static std::unique_ptr<PostgresServer> standby_of(const PostgresServer& primary, const std::string& folder);

  std::string uri(const std::string& database = "postgres") const;
  // Ends recovery: this server becomes a primary of its own history. Waits for it.
  void promote();

  // An immediate stop: commits that were not flushed are lost. To have some, write with
  // "synchronous_commit=off" and "wal_writer_delay=10s".
  void crash();
  // Copies the data under a name. The server may run: then it is the copy that a backup of the volume holds.
  void save(const std::string& name);
  // Puts such a copy in the place of the data, as if the volume were set back. Ends the server, if it runs; start() it.
  void put_back(const std::string& name);
  // The same, and the next start() recovers as from a backup without archive: it ends on a new timeline.
  void recover_from(const std::string& name);
  // Takes over the data of another server, which is not to be used any more: a fail-over behind one address. Ends both.
  void take_over(PostgresServer& other);
  // Into a file, by pg_dump.
  void dump(const std::string& database, const std::string& file) const;
  // Drops the database, whoever is connected, and makes it again from the dump.
  void restore(const std::string& database, const std::string& file) const;

 private:
  PostgresServer(const std::string& folder, const std::vector<std::string>& settings, int port);
  static std::string data_folder(const std::string& folder);
  std::string data() const { return folder_ + "/data"; }
  std::string copy(const std::string& name) const { return folder_ + "/copy-" + name; }

  std::string folder_;
  std::vector<std::string> settings_;
  int port_;
};

// The folder of initdb and pg_ctl, empty when PostgreSQL is not installed.
std::string postgres_binaries();

}  // namespace headgate::testing
