#include "engine/storage/lock_holders.h"

#include <charconv>

#include "engine/storage/sql.h"
#include "engine/storage/write_locks.h"

namespace headgate::engine {

namespace {

// One reading of pg_locks, so that a prepared transaction cannot slip from its session to its own entry between two.
// A transaction writes `transactions` under exactly this lock mode. backend_xid covers the instant at which an xid
// exists but not yet its lock. A writer of an engine has its tenant's lock before it has its xid, and until that has
// ended; so what is read here is all that it ever holds.
constexpr const char* kHolders = R"(
WITH locks AS MATERIALIZED (
  SELECT locktype, pid, virtualtransaction AS owner, transactionid AS xid,
    CASE WHEN locktype = 'advisory' THEN classid::bigint << 32 | objid::bigint END AS key
  FROM pg_locks
  WHERE granted AND (locktype = 'transactionid' OR (
    database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND (locktype = 'advisory' AND objsubid = 1
         OR locktype = 'relation' AND mode = 'RowExclusiveLock' AND relation = 'transactions'::regclass))))
SELECT x.xid::text, a.backend_xid::text, h.pid, a.application_name,
  (SELECT string_agg(k.key::text, ',') FROM locks k WHERE k.locktype = 'advisory' AND k.pid = h.pid)
FROM locks h
LEFT JOIN locks x ON x.locktype = 'transactionid'
  AND (x.pid = h.pid OR (x.pid IS NULL AND h.pid IS NULL AND x.owner = h.owner))
LEFT JOIN pg_stat_activity a ON a.pid = h.pid
WHERE h.locktype = 'relation')";

constexpr std::string_view kWriterLock = HG_WRITER_LOCK;

// Without the lock that tells a writer of an engine, the others mean nothing to us.
std::vector<int64_t> tenants_of(std::string_view keys) {
  std::vector<int64_t> tenants;
  bool writer = false;
  while (!keys.empty()) {
    const size_t end = std::min(keys.find(','), keys.size());
    const std::string_view key = keys.substr(0, end);
    int64_t value = 0;
    std::from_chars(key.data(), key.data() + key.size(), value);
    if (key == kWriterLock) {
      writer = true;
    } else {
      tenants.push_back(value);
    }
    keys.remove_prefix(std::min(end + 1, keys.size()));
  }
  if (!writer) tenants.clear();
  return tenants;
}

}  // namespace

LockHolders read_lock_holders(pqxx::transaction_base& work) {
  LockHolders holders;
  for (const pqxx::row& row : work.exec(kHolders)) {
    if (row[0].is_null() && row[1].is_null()) holders.unknown = true;
    const LockHolder holder{tenants_of(row[4].is_null() ? "" : row[4].c_str()), row[2].is_null() ? 0 : row[2].as<int>(),
                            row[3].is_null() ? "" : row[3].c_str()};
    for (int column = 0; column < 2; ++column) {
      if (!row[column].is_null()) holders.xids.insert_or_assign(static_cast<uint32_t>(number(row[column])), holder);
    }
  }
  return holders;
}

}  // namespace headgate::engine
