#include "engine/storage/batch_reader.h"

#include "base/guard.h"
#include "engine/model/errors.h"
#include "engine/storage/attribute_json.h"
#include "engine/storage/readable.h"
#include "engine/storage/sql.h"
#include "engine/storage/unreadable.h"

namespace headgate::engine {

namespace {

using base::v1::Subject;

// What a state is made of, in statements; $1 is the tenant. Indexes that end with expired_tx_id begin their walk behind
// what expired before the state.
#define HG_VISIBLE                             \
  "expired_tx_id >= $3 AND created_tx_id < $2" \
  " AND (created_tx_id <> ALL($4)) AND (expired_tx_id >= $2 OR expired_tx_id = ANY($4))"

// The facts of check_readable(), read in the snapshot of the rows.
#define HG_STATE                                                                \
  "(SELECT floor FROM headgate.gc_floors WHERE tenant_id = $1)::text,"          \
  " ($5 = '0'::xid8 OR EXISTS (SELECT FROM transactions WHERE id = $5))::text," \
  " pg_snapshot_xmax(pg_current_snapshot())::text, pg_is_in_recovery()::text"

// The last comparison of each look-up is none of equality, so that the order names one index; see kPinnedPlans. Those
// of subjects end with the ids of the type, so that what a level gives does not depend on how rows lie.
constexpr char kBatch[] =
    "PREPARE headgate_batch (varchar, xid8, xid8, xid8[], xid8, bigint, bigint,"
    " varchar[], varchar[], varchar[], varchar[], varchar[], varchar[],"
    " varchar[], varchar[], varchar[], varchar[], varchar[], varchar[], varchar[], varchar[], varchar[],"
    " varchar[], varchar[], varchar[], varchar[], varchar[], boolean[]) AS"
    " SELECT 0 AS kind, 0::bigint AS n, " HG_STATE
    " UNION ALL (SELECT 1, q.n, NULL, NULL, NULL, NULL"
    " FROM unnest($8, $9, $10, $11, $12, $13) WITH ORDINALITY q(t, i, r, st, si, sr, n) CROSS JOIN LATERAL ("
    "  SELECT FROM relation_tuples WHERE tenant_id = $1 AND entity_type = q.t AND entity_id = q.i AND relation = q.r"
    "  AND subject_type = q.st AND subject_id = q.si AND subject_relation = q.sr AND " HG_VISIBLE
    "  ORDER BY expired_tx_id LIMIT 1) f)"
    " UNION ALL (SELECT 2, q.n, f.subject_type, f.subject_id, f.subject_relation, NULL"
    " FROM unnest($14, $15, $16) WITH ORDINALITY q(t, i, r, n) CROSS JOIN LATERAL ("
    "  SELECT subject_type, subject_id, subject_relation FROM relation_tuples"
    "  WHERE tenant_id = $1 AND entity_type = q.t AND entity_id = q.i AND relation = q.r AND subject_relation <> ''"
    "  AND " HG_VISIBLE
    " ORDER BY expired_tx_id, subject_type, subject_id, subject_relation) f LIMIT $6)"
    " UNION ALL (SELECT 3, q.n, f.subject_type, f.subject_id, f.subject_relation, NULL"
    " FROM unnest($17, $18, $19) WITH ORDINALITY q(t, i, r, n) CROSS JOIN LATERAL ("
    "  SELECT subject_type, subject_id, subject_relation FROM relation_tuples"
    "  WHERE tenant_id = $1 AND entity_type = q.t AND entity_id = q.i AND relation >= q.r AND relation <= q.r"
    "  AND " HG_VISIBLE
    " ORDER BY relation, subject_type, subject_id, subject_relation, created_tx_id) f LIMIT $6)"
    " UNION ALL (SELECT 4, a.n, CASE WHEN sum(a.bytes) OVER (ROWS UNBOUNDED PRECEDING) <= $7 THEN a.value::text END,"
    "  a.id::text, NULL, NULL FROM ("
    "  SELECT q.n, f.id, f.value, pg_column_size(f.value) AS bytes"
    "  FROM unnest($20, $21, $22) WITH ORDINALITY q(t, i, a, n) CROSS JOIN LATERAL ("
    "   SELECT id, value FROM attributes WHERE tenant_id = $1 AND entity_type = q.t AND entity_id = q.i"
    "   AND attribute = q.a AND " HG_VISIBLE
    " ORDER BY expired_tx_id LIMIT 1) f) a)"
    " UNION ALL (SELECT 5, q.n, f.entity_id, NULL, NULL, NULL"
    " FROM unnest($23, $24, $25, $26, $27, $28) WITH ORDINALITY q(st, si, sr, t, r, every, n) CROSS JOIN LATERAL ("
    "  SELECT entity_id FROM relation_tuples WHERE NOT q.every AND tenant_id = $1 AND subject_type = q.st"
    "  AND subject_id = q.si AND subject_relation = q.sr AND entity_type = q.t AND relation >= q.r AND relation <= q.r"
    "  AND " HG_VISIBLE
    " ORDER BY relation) f LIMIT $6)"
    " UNION ALL (SELECT 5, q.n, f.entity_id, NULL, NULL, NULL"
    " FROM unnest($23, $24, $25, $26, $27, $28) WITH ORDINALITY q(st, si, sr, t, r, every, n) CROSS JOIN LATERAL ("
    "  SELECT entity_id FROM relation_tuples WHERE q.every AND tenant_id = $1 AND subject_type = q.st"
    "  AND subject_id >= q.si AND subject_id <= q.si AND entity_type = q.t AND relation = q.r"
    "  AND " HG_VISIBLE " ORDER BY subject_id, subject_relation) f LIMIT $6)";

// From one id to the next, so that an id costs the same however many rows it has.
constexpr char kKnownEntities[] =
    "PREPARE headgate_known_entities (varchar, xid8, xid8, xid8[], xid8, bigint, varchar) AS"
    " WITH RECURSIVE tuples AS ("
    "  (SELECT entity_id FROM relation_tuples WHERE tenant_id = $1 AND entity_type = $7 ORDER BY entity_id LIMIT 1)"
    "  UNION ALL SELECT (SELECT entity_id FROM relation_tuples WHERE tenant_id = $1 AND entity_type = $7"
    "   AND entity_id > l.entity_id ORDER BY entity_id LIMIT 1) FROM tuples l WHERE l.entity_id IS NOT NULL),"
    " valued AS ("
    "  (SELECT entity_id FROM attributes WHERE tenant_id = $1 AND entity_type = $7 ORDER BY entity_id LIMIT 1)"
    "  UNION ALL SELECT (SELECT entity_id FROM attributes WHERE tenant_id = $1 AND entity_type = $7"
    "   AND entity_id > l.entity_id ORDER BY entity_id LIMIT 1) FROM valued l WHERE l.entity_id IS NOT NULL)"
    " SELECT 0 AS kind, 0::bigint AS n, " HG_STATE
    " UNION ALL (SELECT 1, 0, i.entity_id, NULL, NULL, NULL FROM tuples i CROSS JOIN LATERAL ("
    "  SELECT FROM relation_tuples WHERE tenant_id = $1 AND entity_type = $7 AND entity_id >= i.entity_id"
    "  AND entity_id <= i.entity_id AND " HG_VISIBLE
    " ORDER BY entity_id, relation LIMIT 1) f LIMIT $6)"
    " UNION ALL (SELECT 1, 0, i.entity_id, NULL, NULL, NULL FROM valued i CROSS JOIN LATERAL ("
    "  SELECT FROM attributes WHERE tenant_id = $1 AND entity_type = $7 AND entity_id >= i.entity_id"
    "  AND entity_id <= i.entity_id AND " HG_VISIBLE " ORDER BY entity_id, attribute LIMIT 1) f LIMIT $6)";
constexpr char kKnownSubjects[] =
    "PREPARE headgate_known_subjects (varchar, xid8, xid8, xid8[], xid8, bigint, varchar, varchar) AS"
    " WITH RECURSIVE ids AS ("
    "  (SELECT subject_id FROM relation_tuples WHERE tenant_id = $1 AND subject_type = $7 ORDER BY subject_id LIMIT 1)"
    "  UNION ALL SELECT (SELECT subject_id FROM relation_tuples WHERE tenant_id = $1 AND subject_type = $7"
    "   AND subject_id > l.subject_id ORDER BY subject_id LIMIT 1) FROM ids l WHERE l.subject_id IS NOT NULL)"
    " SELECT 0 AS kind, 0::bigint AS n, " HG_STATE
    " UNION ALL (SELECT 1, 0, i.subject_id, NULL, NULL, NULL FROM ids i CROSS JOIN LATERAL ("
    "  SELECT FROM relation_tuples WHERE tenant_id = $1 AND subject_type = $7 AND subject_id >= i.subject_id"
    "  AND subject_id <= i.subject_id AND ($8 = '' OR subject_relation = $8) AND " HG_VISIBLE
    "  ORDER BY subject_id, subject_relation LIMIT 1) f LIMIT $6)";

#undef HG_VISIBLE
#undef HG_STATE

enum Kind { kState, kTuple, kUserset, kSubject, kAttribute, kEntity, kKinds };

// The columns of a list of keys, as literals of arrays.
template <typename Keys, typename... Fields>
std::string columns(const Quote& quote, const Keys& keys, Fields... fields) {
  std::string text;
  const auto add = [&](auto field) {
    std::vector<std::string> column;
    column.reserve(keys.size());
    for (const auto& key : keys) column.push_back(field(key));
    text += ", " + quote(array_text(column));
  };
  (add(fields), ...);
  return text;
}

std::string columns_of(const Quote& quote, const std::vector<RelationKey>& keys) {
  using Key = const RelationKey&;
  return columns(
      quote, keys, [](Key key) { return key.entity_type; }, [](Key key) { return key.entity_id; },
      [](Key key) { return key.relation; });
}

std::string columns_of(const Quote& quote, const std::vector<TupleKey>& keys) {
  using Key = const TupleKey&;
  return columns(
      quote, keys, [](Key key) { return key.of.entity_type; }, [](Key key) { return key.of.entity_id; },
      [](Key key) { return key.of.relation; }, [](Key key) { return key.subject_type; },
      [](Key key) { return key.subject_id; }, [](Key key) { return key.subject_relation; });
}

std::string columns_of(const Quote& quote, const std::vector<AttributeKey>& keys) {
  using Key = const AttributeKey&;
  return columns(
      quote, keys, [](Key key) { return key.entity_type; }, [](Key key) { return key.entity_id; },
      [](Key key) { return key.attribute; });
}

std::string columns_of(const Quote& quote, const std::vector<BackwardKey>& keys) {
  using Key = const BackwardKey&;
  return columns(
      quote, keys, [](Key key) { return key.subject_type; }, [](Key key) { return key.subject_id; },
      [](Key key) { return key.subject_relation; }, [](Key key) { return key.entity_type; },
      [](Key key) { return key.relation; }, [](Key key) { return std::string(key.any_subject_relation ? "t" : "f"); });
}

// $1 to $5.
std::string state_of(const Quote& quote, const std::string& tenant, const SnapToken& at) {
  const uint64_t known = at.form == SnapToken::Form::kLegacy ? at.xid : 0;
  return fmt::format("{}, '{}', '{}', '{{{}}}', '{}'", quote(tenant), end_of(at), lowest_invisible(at),
                     fmt::join(guarded(Guard::kCheckState) ? holes_of(at) : std::vector<uint64_t>(), ","), known);
}

// In front of a statement, sent with it: it holds for that one alone.
std::string settings_of(const BatchLimits& limits) {
  if (limits.time_max.count() == 0) return kPlannedOnce;
  return fmt::format("{}SET LOCAL statement_timeout = {}; ", kPlannedOnce, limits.time_max.count());
}

Status too_late_or(const Status& status) {
  if (status.code() == StatusCode::kDeadlineExceeded) return status;
  return client_error(status, base::v1::ERROR_CODE_EXECUTION);
}

Status too_much(const char* what, size_t most) {
  return status_of(StatusCode::kResourceExhausted,
                   "the answer rests on more than {} {} at once; ask for less, or split the relation", most, what);
}

// Column 2 to 5 of a row of kind kState.
Status check_state(const SnapToken& at, const pqxx::row& row) {
  return check_readable(at, {to_xid(row[2]), to_xid(row[4]), truth(row[5]), truth(row[3])});
}

// Nothing precedes every transaction.
bool is_nothing(const SnapToken& at) { return at.form == SnapToken::Form::kLegacy && at.xid == 0; }

class Rows {
 public:
  Rows(const SnapToken& at, const BatchQuery& query, const BatchLimits& limits) : at_(at), limits_(limits) {
    answer_.tuples.resize(query.tuples.size());
    answer_.usersets.resize(query.usersets.size());
    answer_.subjects.resize(query.subjects.size());
    answer_.attributes.resize(query.attributes.size());
    answer_.entities.resize(query.entities.size());
    query_ = &query;
  }

  Status take(const pqxx::result& rows) {
    for (const pqxx::row& row : rows) HG_RETURN_IF_ERROR(take(row));
    return ok_status();
  }
  BatchAnswer answer() { return std::move(answer_); }

 private:
  Status take(const pqxx::row& row) {
    const auto kind = static_cast<Kind>(number(row[0]));
    if (kind == kState) return check_state(at_, row);
    if (++taken_[kind] > limits_.rows_max && kind != kTuple && kind != kAttribute) {
      return too_much(kind == kEntity ? "entities" : "subjects", limits_.rows_max);
    }
    const size_t place = number(row[1]) - 1;
    switch (kind) {
      case kTuple: answer_.tuples[place] = true; return ok_status();
      case kUserset: return take(row, answer_.usersets[place]);
      case kSubject: return take(row, answer_.subjects[place]);
      case kAttribute: return take(row, query_->attributes[place], answer_.attributes[place]);
      default: break;
    }
    HG_RETURN_IF_ERROR(check_text(row[2]));
    answer_.entities[place].emplace_back(row[2].c_str());
    return ok_status();
  }

  static Status check_text(const pqxx::field& field) {
    if (is_text(field.c_str())) return ok_status();
    return refuse_unreadable(fmt::format("a row of relation_tuples: {} is no UTF-8", shown(field.c_str())));
  }

  static Status take(const pqxx::row& row, std::vector<Subject>& subjects) {
    for (const int column : {2, 3, 4}) HG_RETURN_IF_ERROR(check_text(row[column]));
    Subject& subject = subjects.emplace_back();
    subject.set_type(row[2].c_str());
    subject.set_id(row[3].c_str());
    subject.set_relation(row[4].c_str());
    return ok_status();
  }

  Status take(const pqxx::row& row, const AttributeKey& key, std::optional<google::protobuf::Any>& value) {
    if (row[2].is_null()) return too_much("bytes of attributes", limits_.value_bytes_max);
    auto read = attribute_value_from_json(row[2].c_str());
    if (!read.ok()) {
      return refuse_unreadable(
          unreadable_attribute(number(row[3]), key.entity_type, key.entity_id, key.attribute, read.status()));
    }
    value = *std::move(read);
    return ok_status();
  }

  const SnapToken& at_;
  const BatchLimits& limits_;
  const BatchQuery* query_ = nullptr;
  std::array<size_t, kKinds> taken_{};
  BatchAnswer answer_;
};

class PostgresBatchReader : public BatchReader {
 public:
  explicit PostgresBatchReader(std::shared_ptr<Pool> pool) : pool_(std::move(pool)) {}

  StatusOr<BatchAnswer> read(const std::string& tenant, const SnapToken& at, const BatchQuery& query,
                             const BatchLimits& limits) override {
    BatchAnswer answer = Rows(at, query, limits).answer();
    if (is_nothing(at)) return answer;
    const Status status = pool_->read(batch_, [&](pqxx::connection_base& connection) {
      const Quote quote = [&](const std::string& text) { return connection.quote(text); };
      const std::string sql = fmt::format("EXECUTE headgate_batch ({}, {}, {}{}{}{}{}{})", state_of(quote, tenant, at),
                                          limits.rows_max + 1, limits.value_bytes_max, columns_of(quote, query.tuples),
                                          columns_of(quote, query.usersets), columns_of(quote, query.subjects),
                                          columns_of(quote, query.attributes), columns_of(quote, query.entities));
      Rows rows(at, query, limits);
      HG_RETURN_IF_ERROR(rows.take(pqxx::nontransaction(connection).exec(settings_of(limits) + sql)));
      answer = rows.answer();
      return ok_status();
    });
    if (!status.ok()) return too_late_or(status);
    return answer;
  }

  StatusOr<std::vector<std::string>> known_ids(const std::string& tenant, const SnapToken& at, const KnownIds& which,
                                               const BatchLimits& limits) override {
    std::vector<std::string> ids;
    if (is_nothing(at)) return ids;
    const Status status = pool_->read(which.as_subject ? subjects_ : entities_, [&](pqxx::connection_base& connection) {
      const Quote quote = [&](const std::string& text) { return connection.quote(text); };
      const std::string rest = which.as_subject ? ", " + quote(which.subject_relation) : "";
      const std::string sql =
          fmt::format("EXECUTE headgate_known_{} ({}, {}, {}{})", which.as_subject ? "subjects" : "entities",
                      state_of(quote, tenant, at), limits.rows_max + 1, quote(which.type), rest);
      ids.clear();
      return take_ids(at, limits, pqxx::nontransaction(connection).exec(settings_of(limits) + sql), ids);
    });
    if (!status.ok()) return too_late_or(status);
    return ids;
  }

 private:
  static Status take_ids(const SnapToken& at, const BatchLimits& limits, const pqxx::result& rows,
                         std::vector<std::string>& ids) {
    for (const pqxx::row& row : rows) {
      if (number(row[0]) == kState) {
        HG_RETURN_IF_ERROR(check_state(at, row));
        continue;
      }
      if (!is_text(row[2].c_str())) return refuse_unreadable(fmt::format("id {} is no UTF-8", shown(row[2].c_str())));
      ids.emplace_back(row[2].c_str());
      if (ids.size() > limits.rows_max) return too_much("ids", limits.rows_max);
    }
    std::ranges::sort(ids);
    ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
    return ok_status();
  }

  const std::shared_ptr<Pool> pool_;
  const SessionSetup batch_{"headgate_batch", kBatch};
  const SessionSetup entities_{"headgate_known_entities", kKnownEntities};
  const SessionSetup subjects_{"headgate_known_subjects", kKnownSubjects};
};

}  // namespace

std::unique_ptr<BatchReader> make_batch_reader(std::shared_ptr<Pool> pool) {
  return std::make_unique<PostgresBatchReader>(std::move(pool));
}

}  // namespace headgate::engine
