#include "engine/storage/write_statements.h"

#include "engine/storage/attribute_json.h"
#include "engine/storage/row_pages.h"
#include "engine/storage/sql.h"

namespace headgate::engine {

namespace {

using base::v1::Attribute;
using base::v1::AttributeFilter;
using base::v1::Tuple;
using base::v1::TupleFilter;

std::vector<std::vector<std::string>> columns_of(const std::vector<Tuple>& tuples) {
  std::vector<std::vector<std::string>> columns(6);
  for (const Tuple& tuple : tuples) {
    columns[0].push_back(tuple.entity().type());
    columns[1].push_back(tuple.entity().id());
    columns[2].push_back(tuple.relation());
    columns[3].push_back(tuple.subject().type());
    columns[4].push_back(tuple.subject().id());
    columns[5].push_back(tuple.subject().relation());
  }
  return columns;
}

std::vector<std::vector<std::string>> keys_of(const std::vector<Attribute>& attributes) {
  std::vector<std::vector<std::string>> columns(3);
  for (const Attribute& attribute : attributes) {
    columns[0].push_back(attribute.entity().type());
    columns[1].push_back(attribute.entity().id());
    columns[2].push_back(attribute.attribute());
  }
  return columns;
}

}  // namespace

// $1 xid, $2 tenant, then one array per column.
//
// Tuples are inserted without looking first: a look would be a read that SERIALIZABLE tracks by index page, and writers
// of neighbouring keys would fail each other. The price is an unused row id for each tuple that exists already.
//
// Rows to expire are found key by key through LATERAL ... LIMIT 1 and the order of one index, so that no join order and
// no other index can turn into a scan of the table or of a large entity, which would be tracked as a read of it.
const char* const kPrepareWrites = R"sql(
PREPARE headgate_lock_keys (bigint, bigint[]) AS
SELECT pg_advisory_lock_shared()sql" HG_WRITER_LOCK R"sql(), pg_advisory_lock_shared($1),
  (SELECT count(pg_advisory_lock(k)) FROM unnest($2) AS k);

PREPARE headgate_lock_key (bigint, bigint) AS
SELECT pg_advisory_lock_shared()sql" HG_WRITER_LOCK R"sql(), pg_advisory_lock_shared($1), pg_advisory_lock($2);

PREPARE headgate_lock_tenant (bigint) AS
SELECT pg_advisory_lock_shared()sql" HG_WRITER_LOCK R"sql(), pg_advisory_lock($1);

PREPARE headgate_unlock AS SELECT pg_advisory_unlock_all();

PREPARE headgate_begin (varchar) AS INSERT INTO transactions (tenant_id) VALUES ($1) RETURNING id, snapshot;

PREPARE headgate_begin_at_head (varchar) AS INSERT INTO transactions (tenant_id) VALUES ($1)
RETURNING id, snapshot,
  (SELECT version FROM schema_definitions WHERE tenant_id = $1 ORDER BY version DESC LIMIT 1);

PREPARE headgate_tuples_write (xid8, varchar, varchar[], varchar[], varchar[], varchar[], varchar[], varchar[]) AS
INSERT INTO relation_tuples (tenant_id, created_tx_id, entity_type, entity_id, relation, subject_type, subject_id,
  subject_relation)
SELECT $2, $1, k.et, k.ei, k.r, k.st, k.si, k.sr
FROM unnest($3, $4, $5, $6, $7, $8) WITH ORDINALITY AS k (et, ei, r, st, si, sr, place)
ORDER BY k.place
ON CONFLICT ON CONSTRAINT uq_relation_tuple_not_expired DO NOTHING;

PREPARE headgate_tuple_write (xid8, varchar, varchar, varchar, varchar, varchar, varchar, varchar) AS
INSERT INTO relation_tuples (tenant_id, created_tx_id, entity_type, entity_id, relation, subject_type, subject_id,
  subject_relation)
VALUES ($2, $1, $3, $4, $5, $6, $7, $8) ON CONFLICT ON CONSTRAINT uq_relation_tuple_not_expired DO NOTHING;

PREPARE headgate_tuples_expire (xid8, varchar, varchar[], varchar[], varchar[], varchar[], varchar[], varchar[]) AS
UPDATE relation_tuples SET expired_tx_id = $1 WHERE id = ANY (ARRAY(
  SELECT found.id FROM unnest($3, $4, $5, $6, $7, $8) AS k (et, ei, r, st, si, sr)
  CROSS JOIN LATERAL (SELECT t.id FROM relation_tuples t
    WHERE t.tenant_id = $2 AND t.entity_type = k.et AND t.entity_id = k.ei AND t.relation = k.r
      AND t.subject_type = k.st AND t.subject_id = k.si AND t.subject_relation = k.sr
      AND t.expired_tx_id >= '9223372036854775807'::xid8 ORDER BY t.expired_tx_id LIMIT 1) found));

PREPARE headgate_attributes_expire (xid8, varchar, varchar[], varchar[], varchar[]) AS
UPDATE attributes SET expired_tx_id = $1 WHERE id = ANY (ARRAY(
  SELECT found.id FROM unnest($3, $4, $5) AS k (et, ei, a)
  CROSS JOIN LATERAL (SELECT t.id FROM attributes t
    WHERE t.tenant_id = $2 AND t.entity_type = k.et AND t.entity_id = k.ei AND t.attribute = k.a
      AND t.expired_tx_id >= '9223372036854775807'::xid8 ORDER BY t.expired_tx_id LIMIT 1) found));

PREPARE headgate_attributes_write (xid8, varchar, varchar[], varchar[], varchar[], text[]) AS
INSERT INTO attributes (tenant_id, created_tx_id, entity_type, entity_id, attribute, value)
SELECT $2, $1, k.et, k.ei, k.a, k.v::jsonb
FROM unnest($3, $4, $5, $6) WITH ORDINALITY AS k (et, ei, a, v, place)
ORDER BY k.place;
)sql";

WriteStatements::WriteStatements(const Quote& quote, uint64_t xid, const std::string& tenant)
    : quote_(quote), xid_(std::to_string(xid)), tenant_(tenant) {}

void WriteStatements::add(const char* name, const std::vector<std::vector<std::string>>& columns) {
  Statement& statement = statements_.emplace_back(Statement{name, {xid_, tenant_}, {}});
  for (const std::vector<std::string>& column : columns) statement.parameters.push_back(array_text(column));
}

void WriteStatements::write(const std::vector<Tuple>& tuples) {
  // By far the most writes have one tuple; arrays would cost the server a tenth more for all of it.
  if (tuples.size() == 1) return write(tuples.front());
  if (!tuples.empty()) add("headgate_tuples_write", columns_of(tuples));
}

void WriteStatements::write(const Tuple& tuple) {
  statements_.push_back({"headgate_tuple_write",
                         {xid_, tenant_, tuple.entity().type(), tuple.entity().id(), tuple.relation(),
                          tuple.subject().type(), tuple.subject().id(), tuple.subject().relation()},
                         {}});
}

Status WriteStatements::write(const std::vector<Attribute>& attributes) {
  if (attributes.empty()) return ok_status();
  std::vector<std::vector<std::string>> columns = keys_of(attributes);
  add("headgate_attributes_expire", columns);
  std::vector<std::string>& values = columns.emplace_back();
  for (const Attribute& attribute : attributes) {
    HG_ASSIGN_OR_RETURN(std::string json, attribute_value_to_json(attribute.value()));
    values.push_back(std::move(json));
  }
  add("headgate_attributes_write", columns);
  return ok_status();
}

void WriteStatements::expire(const std::vector<Tuple>& tuples) {
  if (!tuples.empty()) add("headgate_tuples_expire", columns_of(tuples));
}

void WriteStatements::expire(const std::vector<Attribute>& attributes) {
  if (!attributes.empty()) add("headgate_attributes_expire", keys_of(attributes));
}

void WriteStatements::expire(const TupleFilter& filter) {
  expire_all("relation_tuples", active_ids(quote_, tenant_, filter));
}

void WriteStatements::expire(const AttributeFilter& filter) {
  expire_all("attributes", active_ids(quote_, tenant_, filter));
}

void WriteStatements::expire_all(const char* table, const std::string& ids) {
  if (ids.empty()) return;
  statements_.push_back(
      {"", {}, fmt::format("UPDATE {} SET expired_tx_id = '{}'::xid8 WHERE id = ANY(ARRAY({}))", table, xid_, ids)});
}

}  // namespace headgate::engine
