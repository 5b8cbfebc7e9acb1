// Small pieces that the stores over PostgreSQL share. Pure functions.
#pragma once

#include <cstdlib>
#include <functional>
#include <pqxx/pqxx>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/postgres/array_text.h"
#include "base/snap_token.h"
#include "base/status.h"
#include "base/v1/base.pb.h"
#include "base/v1/errors.pb.h"
#include "engine/storage/datastore.h"

// Held, shared, by every writer of an engine beside its tenant's lock: it says that the session's transactions change
// nothing of other tenants. Any number that nobody else uses; as text, for statements.
#define HG_WRITER_LOCK "7522537965574647666"

namespace headgate::engine {

// Errors of Pool as clients see them. ABORTED becomes SERIALIZATION, RESOURCE_EXHAUSTED stays, everything else becomes
// `otherwise` and is logged, because the reason must not reach clients. Errors that already name an ERROR_CODE_ stay.
Status client_error(const Status& status, base::v1::ErrorCode otherwise);

// Continuation tokens: standard base64 over the first key of the next page, as Permify writes them.
std::string encode_page_token(std::string_view key);
// INVALID_CONTINUOUS_TOKEN for anything that is not the base64 of a text.
StatusOr<std::string> decode_page_token(const std::string& token);
// Row ids: INVALID_CONTINUOUS_TOKEN when it is no number, EXECUTION when it cannot be a row id. 0 for an empty token.
StatusOr<int64_t> decode_row_token(const std::string& token);

// How many rows to ask for so that the first row of the next page is seen. Pages have an upper bound, so that no client
// can make the process run out of memory.
uint64_t rows_for_page(const PageRequest& page);

// The condition "row is visible at the token" over created_tx_id and expired_tx_id, as comparisons that indexes can
// serve. The legacy form means the state {xid <= token.xid}.
std::string visible_at(const SnapToken& token);
// What every such row fulfils, and few others: two ranges, which the scan of an index can judge.
std::string visible_within(const SnapToken& token);

// The lowest xid that is not visible at the token; history from here on must exist for the token to be readable.
uint64_t lowest_invisible(const SnapToken& token);
// One above the highest visible xid.
uint64_t end_of(const SnapToken& token);
// Those below it that are not visible, ascending.
std::vector<uint64_t> holes_of(const SnapToken& token);

// Makes a literal of a text.
using Quote = std::function<std::string(const std::string&)>;

uint64_t to_xid(const pqxx::field& field);

// For sessions: what a statement reads follows from its text. Every statement here is meant for ranges of one index,
// which its ORDER BY names; statistics that are old or those of an empty table must not turn one into a scan, nor into
// a sort of what another index finds. Two rules come with it. Equalities alone pin no index, because a constant is no
// order: one column at least is compared by >= and <=. A scan ends where a single column leaves its range, but not
// where a comparison of rows does, (a, b) < (x, y), unless by its first column.
inline constexpr char kPinnedPlans[] =
    "SET enable_seqscan = off; SET enable_bitmapscan = off; SET enable_sort = off; SET enable_incremental_sort = off;"
    " SET max_parallel_workers_per_gather = 0; SET jit = off;";

// In front of EXECUTE, sent with it. The server believes that a plan for these very values is better, and makes one
// each time, which costs twenty times what the statement does.
inline constexpr char kPlannedOnce[] = "SET LOCAL plan_cache_mode = force_generic_plan; ";

// Every tenant with transactions, registered or not: one index probe for each instead of a scan of all transactions.
inline constexpr char kTenantsWithHistory[] = R"sql(
WITH RECURSIVE t AS (
  (SELECT tenant_id FROM transactions ORDER BY tenant_id LIMIT 1)
  UNION ALL
  SELECT (SELECT n.tenant_id FROM transactions n WHERE n.tenant_id > t.tenant_id ORDER BY n.tenant_id LIMIT 1)
  FROM t WHERE t.tenant_id IS NOT NULL)
SELECT tenant_id FROM t WHERE tenant_id IS NOT NULL)sql";

// An expression: the history that xids belong to, "<system identifier>/<timeline>". A primary tells its timeline at
// once after a promotion, the control file only at the next checkpoint.
inline constexpr char kIncarnationId[] =
    "(SELECT system_identifier::text FROM pg_control_system()) || '/' || CASE WHEN pg_is_in_recovery()"
    " THEN (SELECT timeline_id FROM pg_control_checkpoint())::text"
    " ELSE ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::bigint::text END";

// Columns of our own queries, whose types are known: NULL is false, and a number must not be NULL.
inline bool truth(const pqxx::field& field) { return !field.is_null() && field.c_str()[0] == 't'; }
inline uint64_t number(const pqxx::field& field) { return std::strtoull(field.c_str(), nullptr, 10); }

}  // namespace headgate::engine
