// What the tests of the stores share: a migrated database with a datastore over it, and short ways to name data.
// Only *_test.cc files include this.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engine/storage/migrations.h"
#include "engine/storage/postgres_datastore.h"
#include "tests/support/postgres.h"

namespace headgate::engine {

struct StorageFixture {
  explicit StorageFixture(const testing::PostgresDatabase& database, DatastoreSettings settings = {}) {
    const Status migrated = migrate_database({.uri = database.uri()}, {});
    REQUIRE_MESSAGE(migrated.ok(), describe(migrated));
    PoolSettings pool_settings;
    pool_settings.uri = database.uri();
    pool = std::make_shared<Pool>(pool_settings);
    store = std::move(*make_postgres_datastore(pool, std::move(settings)));
  }

  std::shared_ptr<Pool> pool;
  Datastore store;
};

inline base::v1::Tuple tuple_of(const std::string& type, const std::string& id, const std::string& relation,
                                const std::string& subject, const std::string& subject_relation = "") {
  base::v1::Tuple tuple;
  tuple.mutable_entity()->set_type(type);
  tuple.mutable_entity()->set_id(id);
  tuple.set_relation(relation);
  tuple.mutable_subject()->set_type("user");
  tuple.mutable_subject()->set_id(subject);
  tuple.mutable_subject()->set_relation(subject_relation);
  return tuple;
}

template <typename Value, typename Data>
base::v1::Attribute attribute_of(const std::string& id, const std::string& name, const Data& data) {
  base::v1::Attribute attribute;
  attribute.mutable_entity()->set_type("doc");
  attribute.mutable_entity()->set_id(id);
  attribute.set_attribute(name);
  Value value;
  value.set_data(data);
  attribute.mutable_value()->PackFrom(value);
  return attribute;
}

// "1#owner@alice 2#viewer@bob" in the order of the store.
inline std::string names_of(const std::vector<base::v1::Tuple>& tuples) {
  std::string text;
  for (const base::v1::Tuple& tuple : tuples) {
    if (!text.empty()) text += ' ';
    text += tuple.entity().id() + "#" + tuple.relation() + "@" + tuple.subject().id();
    if (!tuple.subject().relation().empty()) text += "#" + tuple.subject().relation();
  }
  return text;
}

inline std::string read_names(const StorageFixture& fixture, const std::string& tenant, const SnapToken& at,
                              const base::v1::TupleFilter& filter = {}) {
  const auto page = fixture.store.reader->tuples(tenant, at, filter, {.size = 1000, .continuous_token = ""});
  return page.ok() ? names_of(page->items) : describe(page.status());
}

inline std::string read_head(const StorageFixture& fixture, const std::string& tenant) {
  const auto head = fixture.store.reader->head(tenant);
  return head.ok() ? read_names(fixture, tenant, *head) : describe(head.status());
}

}  // namespace headgate::engine
