#include "engine/storage/rights.h"

#include <absl/strings/str_replace.h>

#include <vector>

#include "base/log.h"
#include "base/postgres/connect.h"
#include "engine/storage/own_tables.h"

namespace headgate::engine {

namespace {

enum Duty : unsigned { kReads = 1, kWrites = 2, kWatches = 4, kCollects = 8, kLifeRecords = 16 };

struct Need {
  unsigned duties;  // of any of these
  const char* object;
  const char* right;
};

// UPDATE on tenants: a deletion locks the tenant's row. An engine without the rights of kLifeRecords serves, and says
// so.
constexpr Need kNeeds[] = {
    {kReads, "migrations", "SELECT"},
    {kReads, "tenants", "SELECT"},
    {kWrites, "tenants", "INSERT"},
    {kWrites, "tenants", "UPDATE"},
    {kWrites, "tenants", "DELETE"},
    {kReads, "schema_definitions", "SELECT"},
    {kWrites, "schema_definitions", "INSERT"},
    {kWrites, "schema_definitions", "DELETE"},
    {kReads, "bundles", "SELECT"},
    {kWrites, "bundles", "INSERT"},
    {kWrites, "bundles", "UPDATE"},
    {kWrites, "bundles", "DELETE"},
    {kReads, "transactions", "SELECT"},
    {kWrites, "transactions", "INSERT"},
    {kWrites | kCollects, "transactions", "DELETE"},
    {kReads, "relation_tuples", "SELECT"},
    {kWrites, "relation_tuples", "INSERT"},
    {kWrites, "relation_tuples", "UPDATE"},
    {kWrites | kCollects, "relation_tuples", "DELETE"},
    {kReads, "attributes", "SELECT"},
    {kWrites, "attributes", "INSERT"},
    {kWrites, "attributes", "UPDATE"},
    {kWrites | kCollects, "attributes", "DELETE"},
    {kReads, "headgate.gc_floors", "SELECT"},
    {kWrites | kCollects, "headgate.gc_floors", "INSERT"},
    {kWrites | kCollects, "headgate.gc_floors", "UPDATE"},
    {kWatches | kCollects, "headgate.gc_holds", "SELECT"},
    {kWatches | kCollects, "headgate.gc_holds", "INSERT"},
    {kWatches | kCollects, "headgate.gc_holds", "UPDATE"},
    {kCollects, "headgate.gc_holds", "DELETE"},
    {kWatches, "headgate.incarnations", "SELECT"},
    {kWatches, "headgate.incarnations", "INSERT"},
    {kReads, "headgate.tenant_life", "SELECT"},
    {kCollects, "headgate.tenant_life", "DELETE"},
    {kLifeRecords, "headgate.tenant_life", "INSERT"},
    {kLifeRecords, "headgate.tenants_known", "SELECT"},
    {kLifeRecords, "headgate.tenants_known", "INSERT"},
    {kLifeRecords, "headgate.tenants_known", "UPDATE"},
    {kLifeRecords, "headgate.tenants_known", "DELETE"},
};
constexpr const char* kSequences[] = {"relation_tuples", "attributes"};

unsigned bits_of(const Duties& duties) {
  return kReads | (duties.writes ? kWrites : 0U) | (duties.watches ? kWatches : 0U) |
         (duties.collects ? kCollects : 0U);
}

// One GRANT for each object, with the rights that `missing` picks.
template <typename Missing>
std::vector<std::string> grants_of(const std::string& role, const Missing& missing) {
  std::vector<std::string> grants;
  const char* object = "";
  for (const Need& need : kNeeds) {
    if (!missing(need)) continue;
    if (std::string_view(object) == need.object) {
      grants.back().insert(grants.back().find(" ON "), fmt::format(", {}", need.right));
    } else {
      grants.push_back(fmt::format("GRANT {} ON {} TO {}", need.right, need.object, role));
    }
    object = need.object;
  }
  return grants;
}

std::string text(pqxx::connection_base& connection, const std::string& sql) {
  pqxx::nontransaction work(connection);
  const pqxx::result rows = work.exec(sql);
  return rows.empty() || rows[0][0].is_null() ? "" : rows[0][0].as<std::string>();
}

bool holds(pqxx::connection_base& connection, const std::string& condition) {
  return text(connection, "SELECT " + condition) == "t";
}

Status lacking(const std::string& role, const std::vector<std::string>& grants) {
  std::string all;
  for (const std::string& grant : grants) all += (all.empty() ? "" : "; ") + grant;
  return status_of(StatusCode::kFailedPrecondition,
                   "the role {} lacks rights in the database; let a role that may grant them run: {} (or all that "
                   "headgate-engine --print-sql prints)",
                   role, all);
}

// The schema of Permify's tables, and ours when it is there.
std::vector<std::string> schema_grants(pqxx::connection_base& connection, const std::string& role) {
  if (text(connection, "SELECT current_schema()").empty()) {
    // Of the schemas that the search_path names none may be used; the last one that there is stands for all.
    const std::string found = text(connection,
                                   "SELECT quote_ident(n.nspname) FROM unnest(string_to_array(replace(replace("
                                   "current_setting('search_path'), '\"$user\"', current_user), ' ', ''), ',')) "
                                   "WITH ORDINALITY AS p(name, place) JOIN pg_namespace n ON n.nspname = p.name "
                                   "ORDER BY place DESC LIMIT 1");
    return {fmt::format("GRANT USAGE ON SCHEMA {} TO {}", found.empty() ? "public" : found, role)};
  }
  if (holds(connection, "to_regnamespace('headgate') IS NOT NULL AND NOT has_schema_privilege('headgate', 'USAGE')")) {
    return {"GRANT USAGE ON SCHEMA headgate TO " + role};
  }
  return {};
}

std::vector<std::string> sequence_grants(pqxx::connection_base& connection, const std::string& role) {
  std::vector<std::string> grants;
  for (const char* table : kSequences) {
    const std::string missing =
        text(connection, fmt::format("SELECT s FROM (SELECT pg_get_serial_sequence('{0}', 'id') AS s WHERE "
                                     "to_regclass('{0}') IS NOT NULL) q WHERE NOT has_sequence_privilege(s, 'USAGE')",
                                     table));
    if (!missing.empty()) grants.push_back(fmt::format("GRANT USAGE ON SEQUENCE {} TO {}", missing, role));
  }
  return grants;
}

}  // namespace

Status check_rights(pqxx::connection_base& connection, const Duties& duties) {
  const std::string role = text(connection, "SELECT quote_ident(current_user)");
  // Without them nothing more can be looked at.
  if (const auto grants = schema_grants(connection, role); !grants.empty()) return lacking(role, grants);
  const auto missing = [&](unsigned bits) {
    return grants_of(role, [&, bits](const Need& need) {
      return (need.duties & bits) != 0 &&
             holds(connection, fmt::format("to_regclass('{0}') IS NOT NULL AND NOT has_table_privilege('{0}', '{1}')",
                                           need.object, need.right));
    });
  };
  std::vector<std::string> grants = missing(bits_of(duties));
  if (duties.writes) {
    for (std::string& grant : sequence_grants(connection, role)) grants.push_back(std::move(grant));
  }
  if (!grants.empty()) return lacking(role, grants);
  if (const auto lives = missing(kLifeRecords); !lives.empty() && !holds(connection, "pg_is_in_recovery()")) {
    log_warn("tenant_lives_not_recorded", {{"reason", message_of(lacking(role, lives))},
                                           {"effect", "they are noticed by comparison, and told late"}});
  }
  return ok_status();
}

std::string preparation_sql(const std::string& role) {
  const std::string name = quoted_name(role);
  std::string sql = fmt::format(
      "-- Prepares a PostgreSQL database for headgate-engine, whose role {0} then needs no right to create anything.\n"
      "-- To be run by a superuser, or by the owner of the database and of Permify's tables, in that database:\n"
      "--   headgate-engine --print-sql | psql -v ON_ERROR_STOP=1 -d DATABASE\n"
      "-- The tables of Permify are looked for, and made when they are absent, in the first schema of the "
      "search_path.\n"
      "-- What is there already stays; the file may be run again.\n\n"
      "SET client_min_messages = warning;\n"
      "CREATE SCHEMA IF NOT EXISTS headgate;\n"
      "DO $prepare$ BEGIN IF obj_description('headgate'::regnamespace) IS NULL THEN\n"
      "  EXECUTE format('COMMENT ON SCHEMA headgate IS %L', '{2}' || quote_ident(current_schema()));\n"
      "END IF; END $prepare$;\n"
      "DO $prepare$ BEGIN IF to_regclass('relation_tuples') IS NULL THEN\n{1}END IF; END $prepare$;\n",
      name, kPermifyTables, kBelongs);
  for (const OwnObjects& objects : {kFirst, kLives}) sql += objects.sql;
  for (const Index& index : kIndexes) {
    std::string made = create_index_sql(index);
    made.insert(made.find(index.name), "IF NOT EXISTS ");
    sql += made + ";\n";
  }
  sql += "\nDO $prepare$ BEGIN EXECUTE format('GRANT USAGE ON SCHEMA %I, headgate TO %I', current_schema(), '" +
         absl::StrReplaceAll(role, {{"'", "''"}}) + "'); END $prepare$;\n";
  for (const std::string& grant : grants_of(name, [](const Need&) { return true; })) sql += grant + ";\n";
  for (const char* table : kSequences) sql += fmt::format("GRANT USAGE ON SEQUENCE {}_id_seq TO {};\n", table, name);
  return sql;
}

}  // namespace headgate::engine
