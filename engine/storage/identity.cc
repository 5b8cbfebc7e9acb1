#include "engine/storage/identity.h"

#include "engine/storage/sql.h"

namespace headgate::engine {

namespace {

constexpr char kNewestBelow[] = R"(
(SELECT id, tenant_id, )" HG_SQL_MICROS("\"timestamp\"") R"( FROM transactions
 WHERE id < $1::xid8 ORDER BY id DESC LIMIT 1)
UNION ALL
(SELECT xid, tenant_id, )" HG_SQL_MICROS("started_at") R"( FROM {} e
 WHERE xid < $1::xid8 ORDER BY xid DESC LIMIT 1)
ORDER BY 1 DESC LIMIT 1)";

// $1 tenants, $2 xids, $3 times; the {} are the table of lives, and a floor where the table for it exists. A row that
// is gone is explained by the floor, by a removal behind it, or by a collector that records none: what the transaction
// created is still there, or what older ones created, beside younger transactions.
constexpr char kIntact[] = R"(
SELECT CASE
  WHEN r.id IS NOT NULL THEN r.tenant_id = a.t AND )" HG_SQL_MICROS("r.\"timestamp\"") R"( = a.s
    AND r.id < pg_snapshot_xmax(pg_current_snapshot())
  WHEN l.xid IS NOT NULL THEN l.tenant_id = a.t AND )" HG_SQL_MICROS("l.started_at") R"( = a.s
    AND l.xid < pg_snapshot_xmax(pg_current_snapshot())
  ELSE COALESCE({1} > a.x, false)
    OR EXISTS (SELECT FROM {0} e WHERE e.tenant_id = a.t AND e.kind = 2 AND e.xid > a.x)
    OR COALESCE((SELECT t.created_tx_id = a.x FROM relation_tuples t WHERE t.tenant_id = a.t
      AND t.created_tx_id >= a.x AND t.created_tx_id <= a.x ORDER BY t.created_tx_id, t.expired_tx_id LIMIT 1), false)
    OR COALESCE((SELECT t.created_tx_id = a.x FROM attributes t WHERE t.tenant_id = a.t
      AND t.created_tx_id >= a.x AND t.created_tx_id <= a.x ORDER BY t.created_tx_id, t.expired_tx_id LIMIT 1), false)
    OR COALESCE((SELECT o.id > a.x AND (
        COALESCE((SELECT true FROM relation_tuples t WHERE t.tenant_id = a.t
          AND t.created_tx_id < o.id ORDER BY t.created_tx_id, t.expired_tx_id LIMIT 1), false)
        OR COALESCE((SELECT true FROM attributes t WHERE t.tenant_id = a.t
          AND t.created_tx_id < o.id ORDER BY t.created_tx_id, t.expired_tx_id LIMIT 1), false))
      FROM (SELECT id FROM transactions WHERE (tenant_id, id) >= (a.t, '0'::xid8) AND tenant_id <= a.t
        ORDER BY tenant_id, id LIMIT 1) o), false)
  END
FROM (SELECT t, x::xid8 AS x, s, n
      FROM unnest($1::text[], $2::text[], $3::bigint[]) WITH ORDINALITY AS given(t, x, s, n)) a
LEFT JOIN transactions r ON r.id = a.x
LEFT JOIN {0} l ON l.xid = a.x
ORDER BY a.n)";
constexpr char kFloorOfTenant[] = "(SELECT f.floor FROM headgate.gc_floors f WHERE f.tenant_id = a.t)";

}  // namespace

TransactionIdentity newest_below(pqxx::transaction_base& work, const std::string& lives, uint64_t xid) {
  const pqxx::result rows = work.exec_params(fmt::format(kNewestBelow, lives), std::to_string(xid));
  if (rows.empty()) return {};
  return {to_xid(rows[0][0]), rows[0][2].as<int64_t>(0), rows[0][1].c_str()};
}

std::vector<bool> intact(pqxx::transaction_base& work, const std::string& lives, bool floors,
                         std::span<const TransactionIdentity> seen) {
  std::vector<std::string> tenants;
  std::vector<uint64_t> xids;
  std::vector<int64_t> times;
  for (const TransactionIdentity& one : seen) {
    tenants.push_back(one.tenant);
    xids.push_back(one.xid);
    times.push_back(one.started_at_us);
  }
  std::vector<bool> answers;
  answers.reserve(seen.size());
  const std::string sql = fmt::format(kIntact, lives, floors ? kFloorOfTenant : "NULL::xid8");
  for (const pqxx::row& row :
       work.exec_params(sql, array_text(tenants), array_text(xids), fmt::format("{{{}}}", fmt::join(times, ",")))) {
    answers.push_back(row[0].as<bool>(false));
  }
  return answers;
}

}  // namespace headgate::engine
