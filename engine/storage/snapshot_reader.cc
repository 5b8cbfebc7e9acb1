#include "engine/storage/snapshot_reader.h"

#include "base/snap_token.h"
#include "base/v1/base.pb.h"
#include "engine/model/reasons.h"
#include "engine/storage/attribute_json.h"
#include "engine/storage/json_size.h"
#include "engine/storage/snapshot_place.h"
#include "engine/storage/sql.h"
#include "engine/storage/tenant_life.h"

namespace headgate::engine {

namespace {

using base::v1::DataChange;
using base::v1::DataChanges;
using Table = SnapshotPlace::Table;

// Rows that one statement walks over, visible or not: what it costs is bounded, whatever the tenant's past.
constexpr size_t kTuplesAtOnce = 5'000;
constexpr size_t kAttributesAtOnce = 1'000;
// Behind so many stored bytes the rows of a statement come without their values; the next statement begins there.
constexpr size_t kValueBytesAtOnce = 256 << 10;

constexpr char kXidMax[] = "18446744073709551615";

// $1 tenant.
std::string facts_sql(const std::string& lives) {
  return fmt::format(
      "SELECT pg_snapshot_xmin(s) AS low, pg_snapshot_xmax(s) AS high, {} AS incarnation,"
      " (SELECT floor FROM headgate.gc_floors WHERE tenant_id = $1) AS floor,"
      " EXISTS (SELECT FROM tenants WHERE id = $1) AS registered,"
      " (SELECT id FROM transactions WHERE (tenant_id, id) >= ($1, '0'::xid8) AND tenant_id <= $1"
      "  ORDER BY tenant_id, id LIMIT 1) AS oldest,"
      " GREATEST((SELECT id FROM transactions WHERE id < pg_snapshot_xmin(s) ORDER BY id DESC LIMIT 1),"
      "  (SELECT xid FROM {} e WHERE xid < pg_snapshot_xmin(s) ORDER BY xid DESC LIMIT 1)) AS newest,"
      " (SELECT version FROM schema_definitions WHERE tenant_id = $1 ORDER BY version DESC LIMIT 1) AS schema"
      " FROM pg_current_snapshot() s",
      kIncarnationId, lives);
}

// $1 tenant, $2 position; the {} is where life events are read from.
constexpr char kNewest[] =
    "(SELECT id, " HG_SQL_MICROS("\"timestamp\"") " AS us FROM transactions"
    " WHERE (tenant_id, id) < ($1, $2::xid8) AND tenant_id >= $1 ORDER BY tenant_id DESC, id DESC LIMIT 1) UNION ALL"
    " (SELECT xid, " HG_SQL_MICROS("started_at") " FROM {} e"
    " WHERE (tenant_id, xid) < ($1, $2::xid8) AND tenant_id >= $1 ORDER BY tenant_id DESC, xid DESC LIMIT 1)";

// $1 tenant, $2 xid: rows older than the oldest transaction prove that a collector which records no floor was there.
constexpr char kOlderRows[] =
    "SELECT COALESCE((SELECT true FROM relation_tuples WHERE tenant_id = $1"
    " AND created_tx_id < $2::xid8 ORDER BY created_tx_id, expired_tx_id LIMIT 1), false)"
    " OR COALESCE((SELECT true FROM attributes WHERE tenant_id = $1"
    " AND created_tx_id < $2::xid8 ORDER BY created_tx_id, expired_tx_id LIMIT 1), false)";

// $1 tenant, $2 position, then the key to begin behind; its last part tells rows apart that differ in their end alone.
constexpr char kTuplesAt[] =
    "SELECT entity_type, entity_id, relation, subject_type, subject_id, subject_relation, expired_tx_id,"
    " created_tx_id < $2::xid8 AND expired_tx_id >= $2::xid8"
    " FROM relation_tuples WHERE tenant_id = $1 AND (entity_type, entity_id, relation, subject_type, subject_id,"
    " subject_relation, expired_tx_id) > ($3, $4, $5, $6, $7, $8, $9::xid8)"
    " ORDER BY entity_type, entity_id, relation, subject_type, subject_id, subject_relation, expired_tx_id LIMIT {}";
constexpr char kAttributesAt[] =
    "SELECT entity_type, entity_id, attribute, expired_tx_id, visible,"
    " CASE WHEN visible AND sum(CASE WHEN visible THEN bytes ELSE 0 END) OVER rows_before - bytes < {0} THEN value END"
    " FROM (SELECT entity_type, entity_id, attribute, expired_tx_id, value, pg_column_size(value) AS bytes,"
    "  created_tx_id < $2::xid8 AND expired_tx_id >= $2::xid8 AS visible"
    " FROM attributes WHERE tenant_id = $1 AND (entity_type, entity_id, attribute, expired_tx_id)"
    "  > ($3, $4, $5, $6::xid8)"
    " ORDER BY entity_type, entity_id, attribute, expired_tx_id LIMIT {1}) page"
    " WINDOW rows_before AS (ROWS UNBOUNDED PRECEDING)";

Status check_texts(const pqxx::row& row, int size) {
  for (int i = 0; i < size; ++i) {
    if (!is_text(row[i].c_str())) return internal_error("{} is no UTF-8", shown(row[i].c_str()));
  }
  return ok_status();
}

std::string unreadable_row(const char* table, const pqxx::row& row, int size, const Status& why) {
  std::vector<std::string> key;
  for (int i = 0; i < size; ++i) key.push_back(shown(row[i].c_str()));
  return fmt::format("row of {} ({}): {}", table, fmt::join(key, " "), message_of(why));
}

DataChange tuple_at(const pqxx::row& row) {
  DataChange change;
  change.set_operation(DataChange::OPERATION_CREATE);
  base::v1::Tuple& tuple = *change.mutable_tuple();
  tuple.mutable_entity()->set_type(row[0].c_str());
  tuple.mutable_entity()->set_id(row[1].c_str());
  tuple.set_relation(row[2].c_str());
  tuple.mutable_subject()->set_type(row[3].c_str());
  tuple.mutable_subject()->set_id(row[4].c_str());
  tuple.mutable_subject()->set_relation(row[5].c_str());
  return change;
}

StatusOr<DataChange> attribute_at(const pqxx::row& row) {
  DataChange change;
  change.set_operation(DataChange::OPERATION_CREATE);
  base::v1::Attribute& attribute = *change.mutable_attribute();
  attribute.mutable_entity()->set_type(row[0].c_str());
  attribute.mutable_entity()->set_id(row[1].c_str());
  attribute.set_attribute(row[2].c_str());
  HG_ASSIGN_OR_RETURN(*attribute.mutable_value(), attribute_value_from_json(row[5].c_str()));
  return change;
}

// Walks the index from `place` on and fills one page.
class Walk {
 public:
  Walk(pqxx::transaction_base& work, const SnapshotQuery& query, SnapshotPlace place)
      : work_(work), query_(query), place_(std::move(place)), position_(std::to_string(place_.position)) {
    changes_.set_snap_token(encode_position_token(place_.position));
    bytes_ = changes_.ByteSizeLong();
  }

  Status run(const std::function<Status()>& wanted) {
    start(place_.table, place_.key);
    while (!full_) {
      HG_RETURN_IF_ERROR(wanted());
      const bool end = step();
      if (full_ || !end) continue;
      if (table_ == Table::kAttributes) break;
      start(Table::kAttributes, {});
    }
    return ok_status();
  }

  std::string changes() const { return changes_.SerializeAsString(); }
  const UnreadableRows& unreadable() const { return unreadable_; }
  // Empty when nothing is left.
  std::string continuation() const { return full_ ? encode_snapshot_place(place_) : ""; }

 private:
  void start(Table table, std::vector<std::string> key) {
    table_ = table;
    const size_t size = table == Table::kTuples ? SnapshotPlace::kTupleKey : SnapshotPlace::kAttributeKey;
    // Behind a row of an earlier page: behind everything with its key, of which one at most is visible.
    behind_ = key.empty() ? "0" : kXidMax;
    from_ = std::move(key);
    from_.resize(size);
  }

  // One statement. True when there is nothing behind it in the table.
  bool step() {
    static const std::string tuples = fmt::format(kTuplesAt, kTuplesAtOnce);
    static const std::string attributes = fmt::format(kAttributesAt, kValueBytesAtOnce, kAttributesAtOnce);
    const bool of_tuples = table_ == Table::kTuples;
    const pqxx::result rows =
        of_tuples ? work_.exec_params(tuples, query_.tenant, position_, from_[0], from_[1], from_[2], from_[3],
                                      from_[4], from_[5], behind_)
                  : work_.exec_params(attributes, query_.tenant, position_, from_[0], from_[1], from_[2], behind_);
    const int size = static_cast<int>(from_.size());
    for (const pqxx::row& row : rows) {
      const bool visible = row[size + 1].c_str()[0] == 't';
      if (visible && !of_tuples && row[size + 2].is_null()) return false;
      if (visible) add(row);
      if (full_) return false;
      for (int i = 0; i < size; ++i) from_[static_cast<size_t>(i)] = row[i].c_str();
      behind_ = row[size].c_str();
      // A continuation is text, so behind a key that is none the next page begins at an earlier row.
      if (visible && std::ranges::all_of(from_, is_text))
        place_ = {place_.position, place_.newest_xid, place_.newest_started_at_us, table_, from_};
    }
    return rows.size() < (of_tuples ? kTuplesAtOnce : kAttributesAtOnce);
  }

  StatusOr<DataChange> change_of(const pqxx::row& row) const {
    HG_RETURN_IF_ERROR(check_texts(row, static_cast<int>(from_.size())));
    if (table_ == Table::kAttributes) return attribute_at(row);
    return tuple_at(row);
  }

  void add(const pqxx::row& row) {
    StatusOr<DataChange> change = change_of(row);
    if (!change.ok()) {
      const char* table = table_ == Table::kTuples ? "relation_tuples" : "attributes";
      unreadable_.add(unreadable_row(table, row, static_cast<int>(from_.size()), change.status()));
      return;
    }
    const size_t size = change->ByteSizeLong();
    const size_t bytes = 1 + google::protobuf::io::CodedOutputStream::VarintSize32(static_cast<uint32_t>(size)) + size;
    const size_t json_bytes = json_bytes_at_most(*change);
    const bool too_much = bytes_ + bytes > query_.bytes_max || json_bytes_ + json_bytes > kJsonBytesMax;
    full_ = changes_.data_changes_size() > 0 && too_much;
    if (full_) return;
    bytes_ += bytes;
    json_bytes_ += json_bytes;
    *changes_.add_data_changes() = *std::move(change);
  }

  pqxx::transaction_base& work_;
  const SnapshotQuery& query_;
  SnapshotPlace place_;  // behind the last row of the page
  const std::string position_;
  Table table_ = Table::kTuples;
  std::vector<std::string> from_;  // behind the last row looked at
  std::string behind_;
  DataChanges changes_;
  size_t bytes_ = 0, json_bytes_ = 0;
  UnreadableRows unreadable_;
  bool full_ = false;  // the next row did not fit
};

Status history_gone() {
  return refusal(StatusCode::kOutOfRange, kHistoryGone,
                 "the state at this position can be read no more: what belonged to it was collected, or the tenant was "
                 "deleted; begin a new snapshot");
}

class PostgresSnapshots : public SnapshotReader {
 public:
  explicit PostgresSnapshots(std::shared_ptr<Pool> pool) : pool_(std::move(pool)) {}

  StatusOr<SnapshotState> read(const SnapshotQuery& query, const std::function<Status()>& wanted) override {
    SnapshotPlace place{.position = query.position};
    if (!query.continuation.empty()) {
      HG_ASSIGN_OR_RETURN(place, decode_snapshot_place(query.continuation));
      if (query.position != 0 && query.position != place.position) {
        return invalid_argument("the continuation is of a snapshot at position {}, and {} is asked for", place.position,
                                query.position);
      }
    }
    SnapshotState state;
    HG_RETURN_IF_ERROR(pool_->read([&](pqxx::connection_base& connection) {
      // All statements see one state of the database. A floor is recorded before rows are removed, so when rows are
      // missing here, the floor is seen here, too.
      pqxx::transaction<pqxx::repeatable_read, pqxx::read_only> work(connection);
      state = {};
      SnapshotPlace from = place;
      HG_RETURN_IF_ERROR(look(work, query, from, state));
      Walk walk(work, query, std::move(from));
      HG_RETURN_IF_ERROR(walk.run(wanted));
      state.changes = walk.changes();
      state.unreadable = walk.unreadable();
      state.continuation = walk.continuation();
      return ok_status();
    }));
    return state;
  }

 private:
  // Everything but the rows; settles the position.
  static Status look(pqxx::transaction_base& work, const SnapshotQuery& query, SnapshotPlace& place,
                     SnapshotState& state) {
    const pqxx::row facts = work.exec_params1(facts_sql(life_table(has_life_table(work))), query.tenant);
    // Behind the newest transaction instead of at the lowest one in progress: a server that crashes may hand out again
    // what was never written.
    const uint64_t newest = std::max<uint64_t>({query.complete, to_xid(facts["newest"]) + 1, 1});
    if (place.position == 0) place.position = newest;
    state.position = place.position;
    state.incarnation = facts["incarnation"].c_str();
    state.schema_version = facts["schema"].is_null() ? "" : facts["schema"].as<std::string>();
    HG_RETURN_IF_ERROR(check_reached(place.position, newest, facts));
    const uint64_t oldest = to_xid(facts["oldest"]);
    if (place.position < to_xid(facts["floor"])) return history_gone();
    if (place.position < oldest && work.exec_params1(kOlderRows, query.tenant, std::to_string(oldest))[0].as<bool>()) {
      return history_gone();
    }
    const bool known = facts["registered"].as<bool>() || oldest != 0;
    if (!known && query.continuation.empty()) return status_of(StatusCode::kNotFound, "no tenant {}", query.tenant);
    return check_newest(work, query, place, state);
  }

  static Status check_reached(uint64_t position, uint64_t newest, const pqxx::row& facts) {
    if (position <= std::max(newest, to_xid(facts["low"]))) return ok_status();
    if (position > to_xid(facts["high"])) {
      return refusal(StatusCode::kOutOfRange, kFutureToken,
                     "the position is ahead of the database; it was made by another one, or this one lost data");
    }
    return unavailable("transactions below the position are still in progress; try again");
  }

  static Status check_newest(pqxx::transaction_base& work, const SnapshotQuery& query, SnapshotPlace& place,
                             SnapshotState& state) {
    TransactionIdentity newest{.tenant = query.tenant};
    for (const pqxx::row& row : work.exec_params(fmt::format(kNewest, life_table(has_life_table(work))), query.tenant,
                                                 std::to_string(place.position))) {
      if (to_xid(row["id"]) <= newest.xid) continue;
      newest.xid = to_xid(row["id"]);
      newest.started_at_us = row["us"].as<int64_t>();
    }
    if (!query.continuation.empty() &&
        (newest.xid != place.newest_xid || newest.started_at_us != place.newest_started_at_us)) {
      return history_gone();
    }
    place.newest_xid = newest.xid;
    place.newest_started_at_us = newest.started_at_us;
    if (newest.xid != 0) state.newest = std::move(newest);
    return ok_status();
  }

  const std::shared_ptr<Pool> pool_;
};

}  // namespace

std::unique_ptr<SnapshotReader> make_snapshot_reader(std::shared_ptr<Pool> pool) {
  return std::make_unique<PostgresSnapshots>(std::move(pool));
}

}  // namespace headgate::engine
