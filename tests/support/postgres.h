// A real PostgreSQL for tests: one private server per test program, one database per test case.
//
//   TEST_CASE("reader: ...") {
//     HG_POSTGRES(database);
//     Pool pool({.uri = database->uri()});
//
// The server is started at the first use (initdb into a temporary folder, free port of 127.0.0.1, fsync off) and
// stopped when the program ends, also when it crashes. With HEADGATE_TEST_POSTGRES set to a uri or connection string of
// a superuser, that server is used instead. Blocks; the first use must be on the main thread.
#pragma once

#include <memory>
#include <string>

#include "tests/support/test_main.h"

namespace headgate::testing {

class PostgresDatabase {
 public:
  // nullptr when this machine has no PostgreSQL at all. Throws when one exists but cannot be used: that is a failure.
  // `options` are appended to CREATE DATABASE, for example "TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'".
  static std::unique_ptr<PostgresDatabase> create(const std::string& options = "");
  // The same on the server that this program has started, also with HEADGATE_TEST_POSTGRES set: for cases that touch
  // the whole server.
  static std::unique_ptr<PostgresDatabase> create_on_own_server();
  // Drops the database, together with the connections that are still open.
  ~PostgresDatabase();
  PostgresDatabase(const PostgresDatabase&) = delete;
  PostgresDatabase& operator=(const PostgresDatabase&) = delete;

  const std::string& uri() const { return uri_; }
  const std::string& name() const { return name_; }

  // Runs one statement outside a transaction block and returns the first field of its first row, "" without rows.
  std::string execute(const std::string& sql) const;
  // Ends every other session of this database, as a restart of the server would.
  void disconnect_all() const;

 private:
  static std::unique_ptr<PostgresDatabase> create_at(const std::string& admin_uri, const std::string& options);
  PostgresDatabase(std::string admin_uri, std::string uri, std::string name);

  std::string admin_uri_;
  std::string uri_;
  std::string name_;
};

}  // namespace headgate::testing

// Declares `name` as a fresh database, or skips the case visibly.
#define HG_POSTGRES(name) HG_POSTGRES_FROM(name, create)
#define HG_OWN_POSTGRES(name) HG_POSTGRES_FROM(name, create_on_own_server)
#define HG_POSTGRES_FROM(name, make)                               \
  const auto name = ::headgate::testing::PostgresDatabase::make(); \
  if (name == nullptr) HG_SKIP("no PostgreSQL server binaries (initdb, postgres) on this machine")
