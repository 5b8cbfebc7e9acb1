// What the tests of checks share: a database with a service over it, and short ways to name things. Only *_test.cc
// files include this.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engine/check/check_service.h"
#include "engine/check/rules.h"
#include "engine/model/errors.h"
#include "engine/schema/schema.h"
#include "engine/storage/storage_fixture.h"
#include "tests/support/engine_session.h"

namespace headgate::engine {

// A batch reader that counts how often the database was asked.
class CountedReader : public BatchReader {
 public:
  explicit CountedReader(std::shared_ptr<Pool> pool) : reader_(make_batch_reader(std::move(pool))) {}
  StatusOr<BatchAnswer> read(const std::string& tenant, const SnapToken& at, const BatchQuery& query,
                             const BatchLimits& limits) override {
    ++round_trips;
    look_ups += query.tuples.size() + query.usersets.size() + query.subjects.size() + query.attributes.size();
    return reader_->read(tenant, at, query, limits);
  }
  StatusOr<std::vector<std::string>> known_ids(const std::string& tenant, const SnapToken& at, const KnownIds& which,
                                               const BatchLimits& limits) override {
    return reader_->known_ids(tenant, at, which, limits);
  }
  int round_trips = 0;
  size_t look_ups = 0;

 private:
  const std::unique_ptr<BatchReader> reader_;
};

// Rules by their names, without an expression: "high" holds when `level` is more than 1, "broken" cannot be evaluated,
// "any" holds always.
class NamedRules : public RuleEvaluator {
 public:
  StatusOr<bool> holds(const RuleCall& call) const override {
    if (call.rule->name() == "broken") return internal_error("failed to evaluate expression: broken");
    if (call.rule->name() == "any") return true;
    base::v1::IntegerValue level;
    const auto given = call.arguments.find("level");
    if (given == call.arguments.end()) {
      return internal_error("failed to evaluate expression: no such attribute(s): level");
    }
    level.ParseFromString(given->second.value());
    return level.data() > 1;
  }
};

// "doc:1".
inline base::v1::Entity entity_from(const std::string& text) {
  const size_t colon = text.find(':');
  base::v1::Entity entity;
  entity.set_type(text.substr(0, colon));
  entity.set_id(text.substr(colon + 1));
  return entity;
}

// "doc:1#owner@user:alice", "doc:1#viewer@group:eng#member".
inline base::v1::Tuple tuple_from(const std::string& text) {
  const size_t at = text.find('@'), hash = text.find('#');
  base::v1::Tuple tuple;
  *tuple.mutable_entity() = entity_from(text.substr(0, hash));
  tuple.set_relation(text.substr(hash + 1, at - hash - 1));
  const std::string subject = text.substr(at + 1);
  const size_t middle = subject.find(':'), end = std::min(subject.find('#'), subject.size());
  tuple.mutable_subject()->set_type(subject.substr(0, middle));
  tuple.mutable_subject()->set_id(subject.substr(middle + 1, end - middle - 1));
  if (end < subject.size()) tuple.mutable_subject()->set_relation(subject.substr(end + 1));
  return tuple;
}

// "doc:1$public|true", "doc:1$level|3".
inline base::v1::Attribute attribute_from(const std::string& text) {
  const size_t dollar = text.find('$'), bar = text.find('|');
  base::v1::Attribute attribute;
  *attribute.mutable_entity() = entity_from(text.substr(0, dollar));
  attribute.set_attribute(text.substr(dollar + 1, bar - dollar - 1));
  const std::string value = text.substr(bar + 1);
  if (value == "true" || value == "false") {
    base::v1::BooleanValue boolean;
    boolean.set_data(value == "true");
    attribute.mutable_value()->PackFrom(boolean);
  } else {
    base::v1::IntegerValue integer;
    integer.set_data(std::stoi(value));
    attribute.mutable_value()->PackFrom(integer);
  }
  return attribute;
}

struct CheckFixture : StorageFixture {
  explicit CheckFixture(const testing::PostgresDatabase& database, CheckSettings given = {})
      : StorageFixture(database),
        reader(pool),
        head_reader(make_head_reader(pool)),
        heads(*head_reader, Duration(0)),
        schemas(*store.schemas),
        checks(reader, heads, schemas, rules, given) {}

  std::string schema(const std::string& text) {
    const auto compiled = compile_schema(text);
    REQUIRE_MESSAGE(compiled.ok(), describe(compiled.status()));
    return *store.schemas->write(tenant, compiled->rows, std::nullopt);
  }
  std::string write(const std::vector<std::string>& tuples, const std::vector<std::string>& attributes = {}) {
    std::vector<base::v1::Tuple> rows;
    std::vector<base::v1::Attribute> values;
    for (const std::string& one : tuples) rows.push_back(tuple_from(one));
    for (const std::string& one : attributes) values.push_back(attribute_from(one));
    const auto token = store.writer->write(tenant, rows, values);
    REQUIRE_MESSAGE(token.ok(), describe(token.status()));
    return encode_snap_token(*token);
  }

  // "doc:1#view@user:ann": allowed, denied, or the error.
  std::string check(const std::string& question, int depth = 20, const base::v1::Context& context = {},
                    const std::string& token = "", Consistency consistency = Consistency::kDefault) {
    const base::v1::Tuple asked = tuple_from(question);
    base::v1::PermissionCheckRequest request;
    request.set_tenant_id(tenant);
    request.mutable_metadata()->set_depth(depth);
    request.mutable_metadata()->set_snap_token(token);
    *request.mutable_entity() = asked.entity();
    request.set_permission(asked.relation());
    *request.mutable_subject() = asked.subject();
    *request.mutable_context() = context;
    call = {.wanted = wanted, .consistency = consistency};
    reader.round_trips = 0;
    reader.look_ups = 0;
    const auto answer = checks.check(request, call);
    if (!answer.ok()) return describe(answer.status());
    count = answer->metadata().check_count();
    return answer->can() == base::v1::CHECK_RESULT_ALLOWED ? "allowed" : "denied";
  }

  std::string tenant = "t";
  CountedReader reader;
  std::unique_ptr<HeadReader> head_reader;
  HeadKeeper heads;
  SchemaCache schemas;
  NamedRules rules;
  CheckService checks;
  std::function<Status()> wanted = [] { return ok_status(); };
  CheckCall call;
  int count = 0;
};

}  // namespace headgate::engine
