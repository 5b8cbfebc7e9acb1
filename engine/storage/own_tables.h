// What we add to Permify's tables; migrations.h says what for.
#pragma once

#include <string>

#include "base/status.h"
#include "engine/storage/permify_tables.h"

namespace headgate::engine {

// One step of our own layout. What it makes is looked for before it is made: a role that may use it need not be allowed
// to make it.
struct OwnObjects {
  int version;
  const char* newest;  // what the step makes last
  const char* sql;
};

inline constexpr OwnObjects kFirst = {1, "headgate.gc_floors_by_floor", R"sql(
CREATE TABLE IF NOT EXISTS headgate.migrations (
  version int PRIMARY KEY,
  applied_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE IF NOT EXISTS headgate.gc_floors (
  tenant_id varchar PRIMARY KEY,
  floor xid8 NOT NULL,
  recorded_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX IF NOT EXISTS gc_floors_by_floor ON headgate.gc_floors (floor);
CREATE TABLE IF NOT EXISTS headgate.gc_holds (
  holder text,
  tenant_id varchar,
  position xid8 NOT NULL,
  expires_at timestamptz NOT NULL,
  PRIMARY KEY (holder, tenant_id)
);
CREATE TABLE IF NOT EXISTS headgate.incarnations (
  id text PRIMARY KEY,
  first_xid xid8 NOT NULL,
  seen_at timestamptz NOT NULL DEFAULT now()
);
INSERT INTO headgate.migrations (version) VALUES (1) ON CONFLICT DO NOTHING;
)sql"};

// The tenants that are there now are known without an event: their creation is not news.
inline constexpr OwnObjects kLives = {2, "headgate.tenants_known", R"sql(
CREATE TABLE IF NOT EXISTS headgate.tenant_life (
  xid xid8 PRIMARY KEY DEFAULT pg_current_xact_id(),
  tenant_id varchar NOT NULL,
  kind smallint NOT NULL,
  started_at timestamptz NOT NULL DEFAULT now(),
  schema_version varchar NOT NULL DEFAULT '',
  previous_schema_version varchar NOT NULL DEFAULT '',
  late boolean NOT NULL DEFAULT false
);
CREATE INDEX IF NOT EXISTS tenant_life_by_tenant ON headgate.tenant_life (tenant_id, xid);
CREATE TABLE IF NOT EXISTS headgate.tenants_known (
  tenant_id varchar PRIMARY KEY,
  created_at timestamp,
  schema_version varchar NOT NULL
);
INSERT INTO headgate.tenants_known (tenant_id, created_at, schema_version)
SELECT t.id, t.created_at, COALESCE((SELECT s.version::varchar FROM schema_definitions s WHERE s.tenant_id = t.id
                                     ORDER BY s.version DESC LIMIT 1), '')
FROM tenants t ON CONFLICT DO NOTHING;
INSERT INTO headgate.migrations (version) VALUES (2) ON CONFLICT DO NOTHING;
)sql"};

// The comment of the schema headgate, in front of the name of the schema whose tables it belongs to.
inline constexpr char kBelongs[] = "headgate: of the tables in schema ";

struct Index {
  const char* name;
  const char* table;
  const char* rows;
  bool needed;  // without the others, pages of much that one filter names cost more, and checks of large relations
};
inline constexpr char kExpiredRows[] = "(tenant_id, expired_tx_id) WHERE expired_tx_id <> '9223372036854775807'::xid8";
inline constexpr char kByType[] = "(tenant_id, entity_type, id, created_tx_id, expired_tx_id)";
inline constexpr Index kIndexes[] = {
    {"headgate_relation_tuples_expired", "relation_tuples", kExpiredRows, true},
    {"headgate_attributes_expired", "attributes", kExpiredRows, true},
    {"headgate_relation_tuples_type", "relation_tuples", kByType, false},
    {"headgate_relation_tuples_entity", "relation_tuples",
     "(tenant_id, entity_type, entity_id, id, created_tx_id, expired_tx_id)", false},
    {"headgate_relation_tuples_subject", "relation_tuples",
     "(tenant_id, subject_type, subject_id, id, created_tx_id, expired_tx_id)", false},
    {"headgate_attributes_type", "attributes", kByType, false},
    {"headgate_relation_tuples_usersets", "relation_tuples",
     "(tenant_id, entity_type, entity_id, relation, expired_tx_id, subject_type, subject_id, subject_relation,"
     " created_tx_id) WHERE subject_relation <> ''",
     false},
};
// Of a table that is there: built while others write, so in no transaction.
inline std::string create_index_sql(const Index& index) {
  return fmt::format("CREATE INDEX CONCURRENTLY {} ON {} {}", index.name, index.table, index.rows);
}

}  // namespace headgate::engine
