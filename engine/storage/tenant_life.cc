#include "engine/storage/tenant_life.h"

#include <vector>

#include "base/log.h"
#include "engine/storage/sql.h"
#include "engine/storage/write_locks.h"

namespace headgate::engine {

namespace {

constexpr char kNoLifeTable[] =
    "(SELECT NULL::xid8 AS xid, NULL::varchar AS tenant_id, NULL::smallint AS kind, NULL::timestamptz AS started_at,"
    " NULL::varchar AS schema_version, NULL::varchar AS previous_schema_version, NULL::boolean AS late WHERE false)";

constexpr char kMayRecord[] =
    "SELECT NOT pg_is_in_recovery()"
    " AND COALESCE(has_table_privilege(to_regclass('headgate.tenant_life'), 'INSERT'), false)"
    " AND COALESCE(has_table_privilege(to_regclass('headgate.tenants_known'), 'SELECT')"
    " AND has_table_privilege(to_regclass('headgate.tenants_known'), 'INSERT')"
    " AND has_table_privilege(to_regclass('headgate.tenants_known'), 'UPDATE')"
    " AND has_table_privilege(to_regclass('headgate.tenants_known'), 'DELETE'), false)";

constexpr char kRecord[] =
    "INSERT INTO headgate.tenant_life (tenant_id, kind, schema_version, previous_schema_version, late)"
    " VALUES ($1, $2::smallint, $3, $4, $5::boolean)";

// $1 a tenant, the {} a condition on tenants t, known k and head h. A version that is gone is no change that has a
// name.
constexpr char kDifferences[] =
    "SELECT COALESCE(t.id, k.tenant_id), t.id IS NOT NULL, k.tenant_id IS NOT NULL,"
    " t.created_at IS DISTINCT FROM k.created_at, COALESCE(h.version, ''), COALESCE(k.schema_version, '')"
    " FROM {0} FULL JOIN {1} ON k.tenant_id = t.id"
    " LEFT JOIN LATERAL (SELECT s.version::varchar AS version FROM schema_definitions s WHERE s.tenant_id = t.id"
    " ORDER BY s.version DESC LIMIT 1) h ON true"
    " WHERE t.id IS NULL OR k.tenant_id IS NULL OR t.created_at IS DISTINCT FROM k.created_at"
    " OR h.version <> k.schema_version LIMIT {2}";

// What one call of record_missed() for all tenants looks at; each of them is a few transactions.
constexpr int kTenantsAtOnce = 200;

std::string differences_of_all() {
  return fmt::format(kDifferences, "tenants t", "headgate.tenants_known k", kTenantsAtOnce);
}
std::string differences_of_one() {
  return fmt::format(kDifferences, "(SELECT * FROM tenants WHERE id = $1) t",
                     "(SELECT * FROM headgate.tenants_known WHERE tenant_id = $1) k", 1);
}

void record(pqxx::transaction_base& work, const std::string& tenant, const LifeEvent& event) {
  work.exec_params(kRecord, tenant, static_cast<int>(event.kind), event.schema_version, event.previous_schema_version,
                   event.late);
}

// The next of the events that lead from what is known of the tenant to what is there. False when there is none, or the
// tenant is locked.
bool record_next(pqxx::connection_base& connection, const std::string& tenant) {
  pqxx::work work(connection);
  if (!truth(work.exec1(fmt::format("SELECT pg_try_advisory_xact_lock({})", tenant_lock(tenant)))[0])) return false;
  if (!begin_life(work)) return false;
  const pqxx::result found = work.exec_params(differences_of_one(), tenant);
  if (found.empty()) return false;
  const pqxx::row& row = found[0];
  const bool registered = truth(row[1]), known = truth(row[2]), other = truth(row[3]);
  if (known && (!registered || other)) {
    record_removed(work, tenant, true);
  } else if (!known) {
    record_created(work, tenant, true);
  } else {
    record_schema(work, tenant, row[4].c_str(), row[5].c_str(), true);
  }
  work.commit();
  log_info("tenant_life_recorded_late",
           {{"tenant", tenant}, {"registered", registered}, {"known", known}, {"schema", row[4].c_str()}});
  return true;
}

}  // namespace

std::string life_table(bool exists) { return exists ? "headgate.tenant_life" : kNoLifeTable; }

bool has_life_table(pqxx::transaction_base& work) {
  return truth(
      work.exec1("SELECT COALESCE(has_table_privilege(to_regclass('headgate.tenant_life'), 'SELECT'), false)")[0]);
}

bool has_known_table(pqxx::transaction_base& work) {
  return truth(
      work.exec1("SELECT COALESCE(has_table_privilege(to_regclass('headgate.tenants_known'), 'SELECT'), false)")[0]);
}

bool begin_life(pqxx::transaction_base& work) {
  if (!truth(work.exec1(kMayRecord)[0])) return false;
  work.exec("LOCK TABLE transactions IN ROW EXCLUSIVE MODE");
  return true;
}

void record_created(pqxx::transaction_base& work, const std::string& tenant, bool late) {
  work.exec_params(
      "INSERT INTO headgate.tenants_known (tenant_id, created_at, schema_version)"
      " SELECT id, created_at, '' FROM tenants WHERE id = $1"
      " ON CONFLICT (tenant_id) DO UPDATE SET created_at = excluded.created_at, schema_version = ''",
      tenant);
  record(work, tenant, {.kind = LifeEvent::Kind::kCreated, .late = late});
}

void record_removed(pqxx::transaction_base& work, const std::string& tenant, bool late) {
  work.exec_params("DELETE FROM headgate.tenants_known WHERE tenant_id = $1", tenant);
  record(work, tenant, {.kind = LifeEvent::Kind::kRemoved, .late = late});
}

void record_schema(pqxx::transaction_base& work, const std::string& tenant, const std::string& version,
                   const std::string& previous, bool late) {
  // A tenant that was never registered has schemas, too, but no life that could be compared.
  work.exec_params("UPDATE headgate.tenants_known SET schema_version = $2 WHERE tenant_id = $1", tenant, version);
  record(work, tenant, {LifeEvent::Kind::kSchemaChanged, version, previous, late});
}

bool record_missed(pqxx::connection_base& connection, const std::string& tenant) {
  bool recorded = false;
  while (record_next(connection, tenant)) recorded = true;
  return recorded;
}

MissedLives record_missed(pqxx::connection_base& connection) {
  std::vector<std::string> tenants;
  {
    pqxx::nontransaction work(connection);
    if (!truth(work.exec1(kMayRecord)[0])) return MissedLives::kImpossible;
    for (const pqxx::row& row : work.exec(differences_of_all())) tenants.emplace_back(row[0].c_str());
  }
  for (const std::string& tenant : tenants) record_missed(connection, tenant);
  return tenants.empty() ? MissedLives::kNone : MissedLives::kMore;
}

}  // namespace headgate::engine
