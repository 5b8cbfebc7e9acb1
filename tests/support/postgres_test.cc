#include "tests/support/postgres.h"

TEST_SUITE("support/postgres") {
  using headgate::testing::PostgresDatabase;

  TEST_CASE("postgres: every fixture has a database of its own") {
    HG_POSTGRES(first);
    HG_POSTGRES(second);
    first->execute("CREATE TABLE only_here (n int)");
    CHECK(first->execute("SELECT to_regclass('only_here')::text") == "only_here");
    CHECK(second->execute("SELECT to_regclass('only_here')::text") == "");
    CHECK(first->name() != second->name());
  }

  TEST_CASE("postgres: disconnect_all ends the open sessions") {
    HG_POSTGRES(database);
    database->disconnect_all();
    CHECK(database->execute("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()") == "1");
  }
}
