#include "relay/tokens/postgres_tables.h"

#include <vector>

#include "base/postgres/connect.h"
#include "relay/tokens/store_settings.h"

namespace headgate::relay {

namespace {

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

constexpr const char* kTables[] = {"headgate.relay_owners", "headgate.relay_cursors"};
// UPDATE on owners: a commit locks the owner's row.
constexpr const char* kTableRights[] = {"SELECT", "INSERT", "UPDATE"};

bool told(pqxx::transaction_base& work, const std::string& condition) {
  const pqxx::row row = work.exec1("SELECT " + condition);
  return !row[0].is_null() && row[0].as<bool>();
}

Status lacks(const std::string& role, const std::string& statements) {
  return status_of(StatusCode::kPermissionDenied,
                   "the role {} lacks rights in the database; let a role that has them run: {} (or all that "
                   "headgate-relay --print-sql prints); it is tried again",
                   role, statements);
}

Status check_rights(pqxx::transaction_base& work, const std::string& role) {
  std::string grants;
  for (const char* table : kTables) {
    std::string missing;
    for (const char* right : kTableRights) {
      if (told(work, fmt::format("has_table_privilege('{}', '{}')", table, right))) continue;
      missing += (missing.empty() ? "" : ", ") + std::string(right);
    }
    if (missing.empty()) continue;
    grants += fmt::format("{}GRANT {} ON {} TO {}", grants.empty() ? "" : "; ", missing, table, role);
  }
  return grants.empty() ? ok_status() : lacks(role, grants);
}

// The statement that was refused, and the right that would have been enough.
Status cannot_make(const std::string& role, const std::string& statement) {
  const bool schema = statement.rfind("CREATE SCHEMA", 0) == 0;
  const bool change = statement.rfind("ALTER TABLE", 0) == 0;
  return lacks(role, schema   ? fmt::format("CREATE SCHEMA headgate AUTHORIZATION {}", role)
                     : change ? statement
                              : fmt::format("GRANT USAGE, CREATE ON SCHEMA headgate TO {}", role));
}

}  // namespace

Status prepare_tables(pqxx::connection_base& connection) {
  std::string role, refused;
  try {
    pqxx::work work(connection);
    role = work.exec1("SELECT quote_ident(current_user)")[0].as<std::string>();
    // Two relays that start together would race for the same catalogue rows.
    work.exec("SELECT pg_advisory_xact_lock(4839201, 1)");
    if (told(work, "to_regnamespace('headgate') IS NOT NULL AND NOT has_schema_privilege('headgate', 'USAGE')")) {
      return lacks(role, fmt::format("GRANT USAGE ON SCHEMA headgate TO {}", role));
    }
    for (const Piece& piece : kPieces) {
      if (!told(work, piece.missing)) continue;
      refused = piece.make;
      work.exec(piece.make);
    }
    refused.clear();
    HG_RETURN_IF_ERROR(check_rights(work, role));
    work.commit();
    return ok_status();
  } catch (const pqxx::insufficient_privilege&) {
    if (refused.empty()) throw;
    return cannot_make(role, refused);
  }
}

std::string preparation_sql(const PostgresStoreSettings& settings) {
  const std::string role = quoted_name(postgres_role(settings.uri));
  std::string sql = fmt::format(
      "-- Prepares a PostgreSQL database for the token store of headgate-relay, whose role {} then needs no right to\n"
      "-- create anything. To be run by somebody who may create a schema there; it may be run again:\n"
      "--   headgate-relay --print-sql | psql -v ON_ERROR_STOP=1 -d DATABASE\n\n"
      "SET client_min_messages = warning;\n",
      role);
  for (const Piece& piece : kPieces) sql += std::string(piece.make) + ";\n";
  sql += fmt::format("GRANT USAGE ON SCHEMA headgate TO {};\n", role);
  for (const char* table : kTables) sql += fmt::format("GRANT SELECT, INSERT, UPDATE ON {} TO {};\n", table, role);
  return sql;
}

}  // namespace headgate::relay
