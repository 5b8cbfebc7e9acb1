#include "engine/storage/history_page.h"

#include <algorithm>
#include <cstdlib>
#include <unordered_map>
#include <unordered_set>

#include "base/guard.h"
#include "engine/storage/attribute_json.h"
#include "engine/storage/sql.h"
#include "engine/storage/tenant_life.h"

namespace headgate::engine {

namespace {

using base::v1::DataChange;

constexpr size_t kRowsPerPageMax = 4096;
// With more tenants than this, reading all rows of the range is cheaper than one index range for each.
constexpr size_t kTenantsByIndex = 32;
// A page may exceed what was asked for by this factor before it is read again with fewer transactions.
constexpr size_t kOvershoot = 4;
// Bytes of long attribute values on a page.
constexpr size_t kLongValuesMax = 2 << 20;

// Transactions and life events in the columns that HistoryTransaction has: kind 0 is a transaction.
constexpr const char* kTransactionColumns =
    "id, tenant_id, " HG_SQL_MICROS("\"timestamp\"") ", 0 AS kind, '' AS version, '' AS previous, false";
constexpr const char* kLifeColumns =
    "xid, tenant_id, " HG_SQL_MICROS("started_at") ", kind, schema_version, previous_schema_version, late";

// The columns of both kinds of rows. The two arms never meet in one row of an arm: a row that was created and expired
// by one transaction comes from the second arm, once.
constexpr const char* kTuples = R"(
SELECT r.* FROM unnest($1::text[]) k (t) CROSS JOIN LATERAL (
  SELECT created_tx_id, false, id, tenant_id, entity_type, entity_id, relation, subject_type, subject_id,
    subject_relation
  FROM relation_tuples
  WHERE tenant_id = k.t AND created_tx_id >= $2::xid8 AND created_tx_id < $3::xid8
    AND created_tx_id <> expired_tx_id
  ORDER BY created_tx_id, expired_tx_id) r
UNION ALL
SELECT r.* FROM unnest($1::text[]) k (t) CROSS JOIN LATERAL (
  SELECT expired_tx_id, true, id, tenant_id, entity_type, entity_id, relation, subject_type, subject_id,
    subject_relation
  FROM relation_tuples
  WHERE tenant_id = k.t AND expired_tx_id >= $2::xid8 AND expired_tx_id < $3::xid8
    AND expired_tx_id <> '9223372036854775807'::xid8
  ORDER BY expired_tx_id) r
LIMIT $4::bigint)";

// A long value comes as its length alone, and is fetched once it is known that there are few enough bytes of them. The
// LIMIT inside keeps the text from being made twice.
constexpr const char* kAttributes = R"(
SELECT xid, expired, id, tenant_id, entity_type, entity_id, attribute,
  CASE WHEN octet_length(text) <= 1024 THEN text END, octet_length(text)
FROM (
SELECT r.* FROM unnest($1::text[]) k (t) CROSS JOIN LATERAL (
  SELECT created_tx_id AS xid, false AS expired, id, tenant_id, entity_type, entity_id, attribute, value::text AS text
  FROM attributes
  WHERE tenant_id = k.t AND created_tx_id >= $2::xid8 AND created_tx_id < $3::xid8
    AND created_tx_id <> expired_tx_id
  ORDER BY created_tx_id, expired_tx_id) r
UNION ALL
SELECT r.* FROM unnest($1::text[]) k (t) CROSS JOIN LATERAL (
  SELECT expired_tx_id, true, id, tenant_id, entity_type, entity_id, attribute, value::text
  FROM attributes
  WHERE tenant_id = k.t AND expired_tx_id >= $2::xid8 AND expired_tx_id < $3::xid8
    AND expired_tx_id <> '9223372036854775807'::xid8
  ORDER BY expired_tx_id) r
LIMIT $4::bigint) AS found)";
constexpr const char* kLongValues = "SELECT id, value FROM attributes WHERE id = ANY($1::bigint[])";

constexpr const char* kHighestFloor = "SELECT floor FROM headgate.gc_floors ORDER BY floor DESC LIMIT 1";

bool by_index(std::span<const std::string> tenants) { return !tenants.empty() && tenants.size() <= kTenantsByIndex; }

// A tail is small; whatever is not, long attribute values among it, is read in pages.
constexpr size_t kTailTransactionsMax = 512;
constexpr size_t kTailRowsMax = 4096;

// $1 from; the first {} is the highest floor, where the table for it exists, the other the table of life events. Kinds
// of rows: 0 the state, 1 a transaction, 2 a tuple, 3 an attribute, 4 a life event; the columns of changes are those of
// the statements above. One index probe for each transaction and kind of change: OFFSET 0 keeps the planner from
// joining in any other way, whatever it believes about the tables.
constexpr const char* kTail = R"(
WITH state AS MATERIALIZED (SELECT pg_current_snapshot() AS snapshot),
t AS MATERIALIZED (
  SELECT r.* FROM state CROSS JOIN LATERAL (
    SELECT id, tenant_id, "timestamp" FROM transactions
    WHERE id >= $1::xid8 AND id < pg_snapshot_xmin(state.snapshot) ORDER BY id LIMIT 513) r)
SELECT NULL::xid8, pg_is_in_recovery(), NULL::bigint, snapshot::text, {0},
  CASE WHEN has_table_privilege(to_regclass('headgate.tenant_life'), 'SELECT') THEN 't' END, NULL, NULL, NULL, NULL, 0
FROM state
UNION ALL
SELECT l.xid, l.late, )" HG_SQL_MICROS("l.started_at") R"(, l.tenant_id, l.kind::text,
  l.schema_version, l.previous_schema_version, NULL, NULL, NULL, 4
FROM state CROSS JOIN LATERAL (
  SELECT * FROM {1} e WHERE xid >= $1::xid8 AND xid < pg_snapshot_xmin(state.snapshot) ORDER BY xid LIMIT 513) l
UNION ALL
SELECT id, false, )" HG_SQL_MICROS("\"timestamp\"") R"(, tenant_id, NULL, NULL, NULL, NULL, NULL, NULL, 1
FROM t
UNION ALL
SELECT t.id, false, r.id, t.tenant_id, entity_type, entity_id, relation, subject_type, subject_id, subject_relation, 2
FROM t CROSS JOIN LATERAL (SELECT * FROM relation_tuples x
  WHERE x.tenant_id = t.tenant_id AND x.created_tx_id >= t.id AND x.created_tx_id <= t.id
    AND x.created_tx_id <> x.expired_tx_id ORDER BY x.created_tx_id, x.expired_tx_id OFFSET 0) r
UNION ALL
SELECT t.id, true, r.id, t.tenant_id, entity_type, entity_id, relation, subject_type, subject_id, subject_relation, 2
FROM t CROSS JOIN LATERAL (SELECT * FROM relation_tuples x
  WHERE x.tenant_id = t.tenant_id AND x.expired_tx_id >= t.id AND x.expired_tx_id <= t.id
    AND x.expired_tx_id <> '9223372036854775807'::xid8 ORDER BY x.expired_tx_id OFFSET 0) r
UNION ALL
SELECT t.id, false, r.id, t.tenant_id, entity_type, entity_id, attribute,
  CASE WHEN octet_length(value::text) <= 1024 THEN value::text END, NULL, NULL, 3
FROM t CROSS JOIN LATERAL (SELECT * FROM attributes x
  WHERE x.tenant_id = t.tenant_id AND x.created_tx_id >= t.id AND x.created_tx_id <= t.id
    AND x.created_tx_id <> x.expired_tx_id ORDER BY x.created_tx_id, x.expired_tx_id OFFSET 0) r
UNION ALL
SELECT t.id, true, r.id, t.tenant_id, entity_type, entity_id, attribute,
  CASE WHEN octet_length(value::text) <= 1024 THEN value::text END, NULL, NULL, 3
FROM t CROSS JOIN LATERAL (SELECT * FROM attributes x
  WHERE x.tenant_id = t.tenant_id AND x.expired_tx_id >= t.id AND x.expired_tx_id <= t.id
    AND x.expired_tx_id <> '9223372036854775807'::xid8 ORDER BY x.expired_tx_id OFFSET 0) r
LIMIT 4097)";

// The columns of a transaction or a life event, which are the same in both ways of reading.
struct Columns {
  int tenant, started_at, version, previous, late;
};

HistoryTransaction transaction_of(const pqxx::row& row, long kind, const Columns& at) {
  HistoryTransaction transaction{.xid = number(row[0]),
                                 .tenant = row[at.tenant].c_str(),
                                 .started_at_us = std::strtoll(row[at.started_at].c_str(), nullptr, 10)};
  if (kind == 0) return transaction;
  transaction.life = LifeEvent{static_cast<LifeEvent::Kind>(kind), row[at.version].c_str(), row[at.previous].c_str(),
                               truth(row[at.late])};
  const LifeEvent& life = *transaction.life;
  std::string what;
  if (kind < 1 || kind > 3) what = fmt::format("kind {} is unknown", kind);
  if (!is_text(life.schema_version) || !is_text(life.previous_schema_version)) what = "a schema version is no UTF-8";
  if (!what.empty())
    transaction.unreadable.add(fmt::format("row {} of headgate.tenant_life: {}", transaction.xid, what));
  return transaction;
}

// An xid is one place in the order. Only by hand can a life event get that of a transaction.
void keep_one_by_xid(std::vector<HistoryTransaction>& sorted) {
  for (size_t i = 1; i < sorted.size(); ++i) {
    if (sorted[i].xid != sorted[i - 1].xid) continue;
    if (sorted[i - 1].life) std::swap(sorted[i - 1], sorted[i]);
    const std::string tenant = shown(sorted[i].tenant);
    sorted[i - 1].unreadable.add(fmt::format(
        "row {} of headgate.tenant_life (tenant {}): its xid is that of another transaction", sorted[i].xid, tenant));
    sorted.erase(sorted.begin() + static_cast<ptrdiff_t>(i--));
  }
}

// A change with what orders it inside its transaction.
struct Change {
  bool created = false;
  bool attribute = false;
  uint64_t row_id = 0;
  DataChange message;

  auto order() const { return std::tuple(created, attribute, row_id); }
};

// What a column of a row holds that messages cannot carry; only databases of the encoding SQL_ASCII have any.
Status check_texts(const pqxx::row& row, int begin, int end) {
  for (int i = begin; i < end; ++i) {
    if (!is_text(row[i].c_str())) return internal_error("{} is no UTF-8", shown(row[i].c_str()));
  }
  return ok_status();
}

StatusOr<DataChange> tuple_change(const pqxx::row& row) {
  HG_RETURN_IF_ERROR(check_texts(row, 4, 10));
  DataChange change;
  base::v1::Tuple& tuple = *change.mutable_tuple();
  tuple.mutable_entity()->set_type(row[4].c_str());
  tuple.mutable_entity()->set_id(row[5].c_str());
  tuple.set_relation(row[6].c_str());
  tuple.mutable_subject()->set_type(row[7].c_str());
  tuple.mutable_subject()->set_id(row[8].c_str());
  tuple.mutable_subject()->set_relation(row[9].c_str());
  return change;
}

// By row id. A row that was created and expired on one page is there once.
using LongValues = std::unordered_map<uint64_t, std::string>;

size_t bytes_of_long_values(const pqxx::result& attributes) {
  size_t bytes = 0;
  for (const pqxx::row& row : attributes) bytes += row[7].is_null() ? number(row[8]) : 0;
  return bytes;
}

LongValues fetch_long_values(pqxx::transaction_base& work, const pqxx::result& attributes) {
  std::vector<uint64_t> ids;
  for (const pqxx::row& row : attributes) {
    if (row[7].is_null()) ids.push_back(number(row[2]));
  }
  LongValues values;
  if (ids.empty()) return values;
  for (const pqxx::row& row : work.exec_params(kLongValues, array_text(ids))) {
    values[number(row[0])] = row[1].c_str();
  }
  return values;
}

StatusOr<DataChange> attribute_change(const pqxx::row& row, const LongValues& long_values) {
  HG_RETURN_IF_ERROR(check_texts(row, 4, 7));
  DataChange change;
  base::v1::Attribute& attribute = *change.mutable_attribute();
  attribute.mutable_entity()->set_type(row[4].c_str());
  attribute.mutable_entity()->set_id(row[5].c_str());
  attribute.set_attribute(row[6].c_str());
  const std::string text = row[7].is_null() ? long_values.at(number(row[2])) : row[7].c_str();
  HG_ASSIGN_OR_RETURN(*attribute.mutable_value(), attribute_value_from_json(text));
  return change;
}

struct Found {
  std::vector<Change> changes;
  UnreadableRows unreadable;
};
using FoundByXid = std::unordered_map<uint64_t, Found>;

// `attributes` is null for a tuple.
void collect_row(const pqxx::row& row, const LongValues* attributes, FoundByXid* out) {
  const bool attribute = attributes != nullptr;
  StatusOr<DataChange> message = attribute ? attribute_change(row, *attributes) : tuple_change(row);
  Found& found = (*out)[number(row[0])];
  const uint64_t id = number(row[2]);
  if (!message.ok()) {
    found.unreadable.add(
        attribute ? unreadable_attribute(id, row[4].c_str(), row[5].c_str(), row[6].c_str(), message.status())
                  : fmt::format("row {} of relation_tuples ({}:{}#{}): {}", id, shown(row[4].c_str()),
                                shown(row[5].c_str()), shown(row[6].c_str()), message_of(message.status())));
    return;
  }
  Change change{.created = !truth(row[1]), .attribute = attribute, .row_id = id, .message = *std::move(message)};
  change.message.set_operation(change.created ? DataChange::OPERATION_CREATE : DataChange::OPERATION_DELETE);
  found.changes.push_back(std::move(change));
}

// Rows whose transaction is not on the page are no history: whoever wrote them did not register a transaction.
void collect(const pqxx::result& rows, const LongValues* attributes,
             const std::vector<HistoryTransaction>& transactions, FoundByXid* out) {
  for (const pqxx::row& row : rows) {
    const uint64_t xid = number(row[0]);
    const auto at = std::ranges::lower_bound(transactions, xid, {}, &HistoryTransaction::xid);
    if (at == transactions.end() || at->xid != xid || at->tenant != row[3].c_str()) continue;
    collect_row(row, attributes, out);
  }
}

void put_in_order(FoundByXid changes, std::vector<HistoryTransaction>& transactions) {
  for (HistoryTransaction& transaction : transactions) {
    const auto found = changes.find(transaction.xid);
    if (found == changes.end()) continue;
    std::vector<Change>& own = found->second.changes;
    if (guarded(Guard::kChangeOrder)) std::ranges::sort(own, {}, &Change::order);
    transaction.unreadable.add(std::move(found->second.unreadable));
    transaction.changes.reserve(own.size());
    for (Change& change : own) transaction.changes.push_back(std::move(change.message));
  }
}

}  // namespace

pqxx::result PageReader::scan_rows(pqxx::transaction_base& work, XidRange range, std::span<const std::string> tenants,
                                   size_t rows_max) {
  const std::string from = std::to_string(range.from), to = std::to_string(range.to), limit = std::to_string(rows_max);
  const std::string lives = life_table(has_lives(work));
  if (!by_index(tenants)) {
    const std::string sql = fmt::format(
        "SELECT x.*, ({3}) FROM ((SELECT {0} FROM transactions WHERE id >= $1::xid8 AND id < $2::xid8 ORDER BY id"
        " LIMIT $3::bigint) UNION ALL (SELECT {1} FROM {2} e WHERE xid >= $1::xid8 AND xid < $2::xid8 ORDER BY xid"
        " LIMIT $3::bigint)) x ORDER BY 1 LIMIT $3::bigint",
        kTransactionColumns, kLifeColumns, lives, has_floors_ ? kHighestFloor : "NULL");
    return work.exec_params(sql, from, to, limit);
  }
  // The row comparisons keep the planner on the index (tenant_id, id), whatever it believes about the tenant.
  const std::string sql = fmt::format(
      "SELECT r.* FROM unnest($4::text[]) t CROSS JOIN LATERAL ((SELECT {0} FROM transactions"
      " WHERE (tenant_id, id) >= (t, $1::xid8) AND (tenant_id, id) < (t, $2::xid8)"
      " ORDER BY tenant_id, id LIMIT $3::bigint) UNION ALL (SELECT {1} FROM {2} e"
      " WHERE (tenant_id, xid) >= (t, $1::xid8) AND (tenant_id, xid) < (t, $2::xid8)"
      " ORDER BY tenant_id, xid LIMIT $3::bigint)) r ORDER BY 1 LIMIT $3::bigint",
      kTransactionColumns, kLifeColumns, lives);
  return work.exec_params(sql, from, to, limit, array_text(tenants));
}

bool PageReader::has_lives(pqxx::transaction_base& work) {
  if (!has_lives_) has_lives_ = has_life_table(work);
  return has_lives_;
}

// On every row of a scan over all tenants; a scan without rows asks for itself, in the same snapshot.
uint64_t PageReader::highest_floor(pqxx::transaction_base& work, const pqxx::result& rows,
                                   std::span<const std::string> tenants) const {
  if (!has_floors_ || by_index(tenants)) return 0;
  const pqxx::result own = rows.empty() ? work.exec(kHighestFloor) : pqxx::result();
  if (rows.empty() && own.empty()) return 0;
  const pqxx::field floor = rows.empty() ? own[0][0] : rows[0][7];
  return floor.is_null() ? 0 : number(floor);
}

PageReader::Scan PageReader::scan(pqxx::transaction_base& work, XidRange range, std::span<const std::string> tenants,
                                  size_t rows_max) {
  const pqxx::result rows = scan_rows(work, range, tenants, rows_max);
  Scan scan;
  scan.next = rows.size() < rows_max ? range.to : number(rows.back()[0]) + 1;
  scan.highest_floor = highest_floor(work, rows, tenants);
  const std::unordered_set<std::string> wanted = tenants.size() > kTenantsByIndex
                                                     ? std::unordered_set<std::string>(tenants.begin(), tenants.end())
                                                     : std::unordered_set<std::string>();
  scan.transactions.reserve(rows.size());
  for (const pqxx::row& row : rows) {
    if (!wanted.empty() && !wanted.contains(row[1].c_str())) continue;
    constexpr Columns kAt{.tenant = 1, .started_at = 2, .version = 4, .previous = 5, .late = 6};
    scan.transactions.push_back(transaction_of(row, row[3].as<long>(), kAt));
  }
  keep_one_by_xid(scan.transactions);
  return scan;
}

bool PageReader::add_changes(pqxx::transaction_base& work, std::vector<HistoryTransaction>& transactions,
                             size_t rows_max) {
  if (transactions.empty()) return true;
  std::set<std::string> names;
  for (const HistoryTransaction& transaction : transactions) names.insert(transaction.tenant);
  const std::string tenants = array_text(std::vector<std::string>(names.begin(), names.end()));
  const std::string from = std::to_string(transactions.front().xid), to = std::to_string(transactions.back().xid + 1);
  const std::string limit = rows_max == 0 ? "9223372036854775807" : std::to_string(rows_max + 1);
  FoundByXid changes;
  const pqxx::result tuples = work.exec_params(kTuples, tenants, from, to, limit);
  if (rows_max != 0 && tuples.size() > rows_max) return false;
  const pqxx::result attributes = work.exec_params(kAttributes, tenants, from, to, limit);
  if (rows_max != 0 && attributes.size() > rows_max) return false;
  const size_t long_bytes = bytes_of_long_values(attributes);
  if (rows_max != 0 && long_bytes > kLongValuesMax) return false;
  grows_ = long_bytes < kLongValuesMax / 4;
  const LongValues values = fetch_long_values(work, attributes);
  collect(tuples, nullptr, transactions, &changes);
  collect(attributes, &values, transactions, &changes);
  put_in_order(std::move(changes), transactions);
  return true;
}

StatusOr<HistoryPage> PageReader::read(XidRange range, std::span<const std::string> tenants, PageLimit limit) {
  if (range.from >= range.to) return HistoryPage{{}, range.to};
  pqxx::transaction<pqxx::repeatable_read, pqxx::read_only> work(connection_);
  size_t rows = std::clamp<size_t>(rows_per_page_, 1, kRowsPerPageMax);
  while (true) {
    Scan found = scan(work, range, tenants, rows);
    const bool single = found.transactions.size() <= 1;
    const size_t whole_max = limit.whole == PageLimit::kNone ? 0 : limit.whole;
    const bool complete = add_changes(work, found.transactions, single ? whole_max : limit.changes * kOvershoot);
    if (!complete && single) {
      HistoryTransaction& large = found.transactions.front();
      return HistoryPage{{}, large.xid, found.highest_floor, std::move(large)};
    }
    if (!complete) {
      rows = std::max<size_t>(1, std::min(rows, found.transactions.size()) / kOvershoot);
      rows_per_page_ = rows;
      continue;
    }
    size_t changes = 1;
    for (const HistoryTransaction& transaction : found.transactions) changes += transaction.changes.size();
    if (changes < limit.changes / 2 && grows_) rows_per_page_ = std::min(kRowsPerPageMax, rows * 2);
    return HistoryPage{std::move(found.transactions), found.next, found.highest_floor};
  }
}

StatusOr<PageReader::Tail> PageReader::read_tail(uint64_t from) {
  const auto ask = [&]() -> StatusOr<Tail> {
    pqxx::nontransaction work(connection_);
    if (!std::exchange(tail_prepared_, true)) {
      const std::string floor = has_floors_ ? fmt::format("({})::text", kHighestFloor) : "NULL";
      connection_.prepare("headgate_tail", fmt::format(kTail, floor, life_table(has_lives(work))));
    }
    return tail_of(work.exec_prepared("headgate_tail", std::to_string(from)));
  };
  HG_ASSIGN_OR_RETURN(Tail tail, ask());
  if (!tail.has_lives || has_lives_) return tail;
  // The table has appeared, and may have rows that this answer should have.
  has_lives_ = true;
  connection_.unprepare("headgate_tail");
  tail_prepared_ = false;
  return ask();
}

PageReader::Tail PageReader::tail_of(const pqxx::result& rows) {
  const LongValues none;
  Tail tail;
  tail.complete = rows.size() <= kTailRowsMax;
  FoundByXid changes;
  for (const pqxx::row& row : rows) {
    const char kind = row[10].c_str()[0];
    if (kind == '0') {
      tail.snapshot = row[3].c_str();
      tail.in_recovery = truth(row[1]);
      tail.highest_floor = row[4].is_null() ? 0 : number(row[4]);
      tail.has_lives = !row[5].is_null();
    } else if (kind == '1' || kind == '4') {
      constexpr Columns kAt{.tenant = 3, .started_at = 2, .version = 5, .previous = 6, .late = 1};
      tail.transactions.push_back(transaction_of(row, kind == '1' ? 0 : row[4].as<long>(), kAt));
    } else if (kind == '3' && row[7].is_null()) {
      tail.complete = false;
    } else {
      collect_row(row, kind == '3' ? &none : nullptr, &changes);
    }
  }
  tail.complete &= tail.transactions.size() <= kTailTransactionsMax;
  if (tail.complete) {
    std::ranges::sort(tail.transactions, {}, &HistoryTransaction::xid);
    keep_one_by_xid(tail.transactions);
    put_in_order(std::move(changes), tail.transactions);
  } else {
    tail.transactions.clear();
  }
  return tail;
}

}  // namespace headgate::engine
