#include "engine/gc/collector.h"

#include "base/log.h"
#include "engine/storage/permify_tables.h"
#include "engine/storage/pool.h"
#include "engine/storage/sql.h"

namespace headgate::engine {

namespace {

// The same in all versions of this program.
constexpr int64_t kCollectorLock = 0x68656164'67630001;

// One index probe per tenant instead of a scan of all transactions. Finds tenants that were never registered, too.
constexpr char kTenants[] = R"sql(
WITH RECURSIVE t AS (
  (SELECT tenant_id FROM transactions ORDER BY tenant_id LIMIT 1)
  UNION ALL
  SELECT (SELECT n.tenant_id FROM transactions n WHERE n.tenant_id > t.tenant_id ORDER BY n.tenant_id LIMIT 1)
  FROM t WHERE t.tenant_id IS NOT NULL)
SELECT tenant_id FROM t WHERE tenant_id IS NOT NULL)sql";

// $1 tenant, $2 window in milliseconds. The first transaction inside the window is looked for from the oldest end, so
// the search reads what is going to be removed and one row more.
constexpr char kFloor[] = R"sql(
SELECT id FROM transactions
WHERE tenant_id = $1
  AND id < COALESCE((SELECT n.id FROM transactions n
                     WHERE n.tenant_id = $1
                       AND n."timestamp" >= (now() AT TIME ZONE 'UTC') - $2::bigint * interval '1 millisecond'
                     ORDER BY n.id LIMIT 1), '9223372036854775807'::xid8)
  AND id <= COALESCE((SELECT h.position FROM headgate.gc_holds h
                      WHERE h.tenant_id IN ($1, '') AND h.expires_at > now()
                      ORDER BY h.position LIMIT 1), '9223372036854775807'::xid8)
  AND id < pg_snapshot_xmin(pg_current_snapshot())
ORDER BY id DESC LIMIT 1)sql";

// Returns the floor in force, which never falls.
constexpr char kRecordFloor[] = R"sql(
INSERT INTO headgate.gc_floors AS f (tenant_id, floor) VALUES ($1, $2::xid8)
ON CONFLICT (tenant_id) DO UPDATE SET floor = GREATEST(f.floor, excluded.floor), recorded_at = now()
RETURNING floor)sql";

constexpr char kPublishHolds[] = R"sql(
INSERT INTO headgate.gc_holds (holder, tenant_id, position, expires_at)
SELECT $1, tenant, position, now() + $2::bigint * interval '1 millisecond'
FROM unnest($3::varchar[], $4::xid8[]) AS h (tenant, position)
ON CONFLICT (holder, tenant_id) DO UPDATE SET position = excluded.position, expires_at = excluded.expires_at)sql";

std::string remove_expired(pqxx::connection& connection, const char* table, const std::string& tenant,
                           const std::string& floor, int batch) {
  return fmt::format(
      "DELETE FROM {0} WHERE id IN (SELECT id FROM {0} WHERE tenant_id = {1} AND expired_tx_id <> {2} "
      "AND expired_tx_id < '{3}'::xid8 ORDER BY expired_tx_id LIMIT {4})",
      table, connection.quote(tenant), kActive, floor, batch);
}

std::string remove_transactions(pqxx::connection& connection, const std::string& tenant, const std::string& floor,
                                int batch) {
  return fmt::format(
      "DELETE FROM transactions WHERE id IN (SELECT id FROM transactions WHERE tenant_id = {0} AND id < '{1}'::xid8 "
      "ORDER BY id LIMIT {2})",
      connection.quote(tenant), floor, batch);
}

}  // namespace

Collector::Collector(GcSettings settings, GcHolds holds, Clock& clock)
    : settings_(std::move(settings)), holds_(std::move(holds)), clock_(clock) {}

Collector::~Collector() = default;

void Collector::start() {
  thread_ = std::jthread([this](std::stop_token stop) { run(stop); });
}

void Collector::run(std::stop_token stop) {
  while (clock_.sleep(settings_.interval, stop)) {
    const auto report = collect_once(stop);
    if (!report.ok()) {
      log_warn("gc_failed", {{"reason", describe(report.status())}});
    } else if (report->tenants > 0) {
      log_info("gc_collected", {{"tenants", report->tenants},
                                {"tuples", report->tuples},
                                {"attributes", report->attributes},
                                {"transactions", report->transactions}});
    }
  }
}

StatusOr<GcReport> Collector::collect_once(std::stop_token stop) {
  try {
    // A session of its own: the lock lives and dies with it.
    pqxx::connection connection(settings_.uri);
    publish_holds(connection);
    if (!settings_.collect) return GcReport{};
    const bool locked = pqxx::nontransaction(connection)
                            .exec1(fmt::format("SELECT pg_try_advisory_lock({})", kCollectorLock))
                            .front()
                            .as<bool>();
    if (!locked) {
      GcReport report;
      report.elsewhere = true;
      return report;
    }
    return collect(connection, stop);
  } catch (...) {
    return status_of_current_exception();
  }
}

// Holds outlast three missed turns of this process. Those of tenants that are not named any more run out by themselves.
void Collector::publish_holds(pqxx::connection& connection) {
  std::vector<std::string> tenants;
  std::vector<std::string> positions;
  if (holds_) {
    for (const auto& [tenant, position] : holds_()) {
      tenants.push_back(tenant);
      positions.push_back(std::to_string(position));
    }
  }
  pqxx::nontransaction work(connection);
  if (!tenants.empty()) {
    work.exec_params(kPublishHolds, settings_.holder, 4 * settings_.interval.count(), array_text(tenants),
                     array_text(positions));
  }
  work.exec("DELETE FROM headgate.gc_holds WHERE expires_at < now()");
}

GcReport Collector::collect(pqxx::connection& connection, std::stop_token stop) {
  GcReport report;
  const pqxx::result tenants = pqxx::nontransaction(connection).exec(kTenants);
  for (const pqxx::row& row : tenants) {
    if (stop.stop_requested()) break;
    collect_tenant(connection, row[0].c_str(), stop, report);
  }
  return report;
}

void Collector::collect_tenant(pqxx::connection& connection, const std::string& tenant, std::stop_token stop,
                               GcReport& report) {
  std::string floor;
  {
    pqxx::nontransaction work(connection);
    const pqxx::result found = work.exec_params(kFloor, tenant, settings_.window.count());
    if (found.empty()) return;
    floor = work.exec_params1(kRecordFloor, tenant, found[0][0].c_str()).front().c_str();
  }
  const int batch = settings_.batch;
  const uint64_t tuples =
      remove_rows(connection, remove_expired(connection, "relation_tuples", tenant, floor, batch), stop);
  const uint64_t attributes =
      remove_rows(connection, remove_expired(connection, "attributes", tenant, floor, batch), stop);
  const uint64_t transactions = remove_rows(connection, remove_transactions(connection, tenant, floor, batch), stop);
  report.tuples += tuples;
  report.attributes += attributes;
  report.transactions += transactions;
  report.tenants += tuples + attributes + transactions > 0;
}

uint64_t Collector::remove_rows(pqxx::connection& connection, const std::string& sql, std::stop_token stop) {
  uint64_t removed = 0;
  while (!stop.stop_requested()) {
    const uint64_t rows = pqxx::nontransaction(connection).exec(sql).affected_rows();
    removed += rows;
    if (rows < static_cast<uint64_t>(settings_.batch)) break;
    clock_.sleep(settings_.batch_pause, stop);
  }
  return removed;
}

}  // namespace headgate::engine
