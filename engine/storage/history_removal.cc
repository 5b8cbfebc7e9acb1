#include "engine/storage/history_removal.h"

#include "base/postgres/errors.h"
#include "engine/storage/permify_tables.h"
#include "engine/storage/sql.h"
#include "engine/storage/tenant_life.h"

namespace headgate::engine {

namespace {

// The same in all versions of this program.
constexpr int64_t kCollectorLock = 0x68656164'67630001;

// $1 tenant, $2 window in milliseconds. The first transaction inside the window is looked for from the oldest end, so
// the search reads what is going to be removed and one row more.
constexpr char kFloor[] = R"sql(
SELECT id FROM transactions
WHERE tenant_id >= $1
  AND (tenant_id, id) < ($1, COALESCE((SELECT n.id FROM transactions n
                     WHERE (n.tenant_id, n.id) >= ($1, '0'::xid8) AND n.tenant_id <= $1
                       AND n."timestamp" >= (now() AT TIME ZONE 'UTC') - $2::bigint * interval '1 millisecond'
                     ORDER BY n.tenant_id, n.id LIMIT 1), '9223372036854775807'::xid8))
  AND id <= COALESCE((SELECT h.position FROM headgate.gc_holds h
                      WHERE h.tenant_id IN ($1, '') AND h.expires_at > now()
                      ORDER BY h.position LIMIT 1), '9223372036854775807'::xid8)
  AND id < pg_snapshot_xmin(pg_current_snapshot())
ORDER BY tenant_id DESC, id DESC LIMIT 1)sql";

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

// $1 window in milliseconds, $2 rows. As long as a tenant's transactions are kept back to its creation, so is its life.
// Only what a floor or a later removal explains is collected: any other absence counts as a history that was replaced.
constexpr char kRemoveLives[] = R"sql(
DELETE FROM headgate.tenant_life WHERE xid IN (
  SELECT l.xid FROM headgate.tenant_life l
  WHERE l.started_at < now() - $1::bigint * interval '1 millisecond'
    AND l.xid < pg_snapshot_xmin(pg_current_snapshot())
    AND EXISTS (SELECT FROM headgate.tenant_life n
                WHERE n.tenant_id = l.tenant_id AND n.kind = l.kind AND n.xid > l.xid)
    AND NOT EXISTS (SELECT FROM headgate.gc_holds h
                    WHERE h.tenant_id IN (l.tenant_id, '') AND h.expires_at > now() AND h.position <= l.xid)
    AND (EXISTS (SELECT FROM headgate.gc_floors f WHERE f.tenant_id = l.tenant_id AND f.floor > l.xid)
         OR (EXISTS (SELECT FROM headgate.tenant_life r
                     WHERE r.tenant_id = l.tenant_id AND r.kind = 2 AND r.xid > l.xid)
             AND NOT EXISTS (SELECT FROM transactions t WHERE t.tenant_id = l.tenant_id)))
  ORDER BY l.xid LIMIT $2::bigint))sql";

std::string remove_expired(pqxx::connection_base& connection, RemovableRows rows, const std::string& tenant,
                           const std::string& floor, int batch) {
  return fmt::format(
      "DELETE FROM {0} WHERE id = ANY(ARRAY(SELECT id FROM {0} WHERE tenant_id = {1}"
      " AND expired_tx_id < '{3}'::xid8 AND expired_tx_id <> {2} ORDER BY expired_tx_id LIMIT {4}))",
      rows == RemovableRows::kTuples ? "relation_tuples" : "attributes", connection.quote(tenant), kActive, floor,
      batch);
}

std::string remove_transactions(pqxx::connection_base& connection, const std::string& tenant, const std::string& floor,
                                int batch) {
  return fmt::format(
      "DELETE FROM transactions WHERE id = ANY(ARRAY(SELECT id FROM (SELECT id FROM transactions"
      " WHERE (tenant_id, id) >= ({0}, '0'::xid8) AND tenant_id <= {0} ORDER BY tenant_id, id LIMIT {2}) oldest"
      " WHERE id < '{1}'::xid8))",
      connection.quote(tenant), floor, batch);
}

constexpr Duration kConnect{5'000};
// Far above what one of the statements takes.
constexpr Duration kSilence{10 * 60'000};

// Exceptions of libpqxx as Status; a server that has fallen silent as one of them.
template <typename Work>
auto without_exceptions(SocketWatchdog& watchdog, pqxx::connection_base& connection, Work&& work)
    -> StatusOr<decltype(work())> {
  const auto watch = watchdog.watch(connection.sock(), kSilence);
  try {
    return work();
  } catch (...) {
    return status_of_postgres_exception();
  }
}

}  // namespace

StatusOr<std::unique_ptr<HistoryRemoval>> HistoryRemoval::open(const std::string& uri, std::stop_token stop) {
  HG_ASSIGN_OR_RETURN(auto connection, connect_postgres({uri, kConnect, "headgate-collector"}, stop));
  std::unique_ptr<HistoryRemoval> removal(new HistoryRemoval(std::move(connection)));
  HG_RETURN_IF_ERROR(without_exceptions(removal->watchdog_, removal->connection_, [&] {
                       return pqxx::nontransaction(removal->connection_).exec(kPinnedPlans);
                     }).status());
  return removal;
}

Status HistoryRemoval::publish_holds(const std::string& holder, Duration lifetime,
                                     const std::map<std::string, uint64_t>& holds) {
  std::vector<std::string> tenants;
  std::vector<std::string> positions;
  for (const auto& [tenant, position] : holds) {
    tenants.push_back(tenant);
    positions.push_back(std::to_string(position));
  }
  return without_exceptions(watchdog_, connection_,
                            [&] {
                              pqxx::nontransaction work(connection_);
                              if (!tenants.empty()) {
                                work.exec_params(kPublishHolds, holder, lifetime.count(), array_text(tenants),
                                                 array_text(positions));
                              }
                              return work.exec("DELETE FROM headgate.gc_holds WHERE expires_at < now()");
                            })
      .status();
}

StatusOr<bool> HistoryRemoval::lock() {
  return without_exceptions(watchdog_, connection_, [&] {
    const std::string sql = fmt::format("SELECT pg_try_advisory_lock({})", kCollectorLock);
    return pqxx::nontransaction(connection_).exec1(sql).front().as<bool>();
  });
}

StatusOr<std::vector<std::string>> HistoryRemoval::tenants() {
  return without_exceptions(watchdog_, connection_, [&] {
    std::vector<std::string> names;
    for (const pqxx::row& row : pqxx::nontransaction(connection_).exec(kTenantsWithHistory))
      names.emplace_back(row[0].c_str());
    return names;
  });
}

StatusOr<std::optional<std::string>> HistoryRemoval::raise_floor(const std::string& tenant, Duration window) {
  return without_exceptions(watchdog_, connection_, [&]() -> std::optional<std::string> {
    pqxx::nontransaction work(connection_);
    const pqxx::result found = work.exec_params(kFloor, tenant, window.count());
    if (found.empty()) return std::nullopt;
    return work.exec_params1(kRecordFloor, tenant, found[0][0].c_str()).front().c_str();
  });
}

StatusOr<uint64_t> HistoryRemoval::remove(RemovableRows rows, const std::string& tenant, const std::string& floor,
                                          int batch) {
  return without_exceptions(watchdog_, connection_, [&]() -> uint64_t {
    const std::string sql = rows == RemovableRows::kTransactions
                                ? remove_transactions(connection_, tenant, floor, batch)
                                : remove_expired(connection_, rows, tenant, floor, batch);
    return pqxx::nontransaction(connection_).exec(sql).affected_rows();
  });
}

StatusOr<uint64_t> HistoryRemoval::remove_lives(Duration window, int batch) {
  return without_exceptions(watchdog_, connection_, [&]() -> uint64_t {
    pqxx::nontransaction work(connection_);
    if (!has_life_table(work)) return 0;
    return work.exec_params(kRemoveLives, window.count(), batch).affected_rows();
  });
}

}  // namespace headgate::engine
