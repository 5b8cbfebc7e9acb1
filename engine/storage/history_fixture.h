// For tests of what reads history: a migrated database. Only *_test.cc files include this.
#pragma once

#include <memory>

#include "engine/storage/migrations.h"
#include "tests/support/postgres.h"

namespace headgate::engine {

// nullptr as of PostgresDatabase::create().
inline std::unique_ptr<testing::PostgresDatabase> prepared() {
  auto database = testing::PostgresDatabase::create();
  if (database != nullptr) {
    const Status status = migrate_database({.uri = database->uri()}, {});
    REQUIRE_MESSAGE(status.ok(), describe(status));
  }
  return database;
}

}  // namespace headgate::engine

// Declares `name` as such a database, or skips the case visibly.
#define HG_PREPARED(name)                           \
  const auto name = ::headgate::engine::prepared(); \
  if (name == nullptr) HG_SKIP("no PostgreSQL server binaries (initdb, postgres) on this machine")
