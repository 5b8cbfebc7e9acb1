#include "tests/support/truth.h"

#include <google/protobuf/util/json_util.h>

#include <pqxx/pqxx>
#include <stdexcept>

namespace headgate::testing {
namespace {

namespace pb = ::base::v1;

using Place = std::pair<std::string, uint64_t>;  // tenant, xid
// Changes of one transaction with the rank that orders them: delete before create, tuple before attribute.
using Changes = std::map<Place, std::vector<std::pair<int, pb::DataChange>>>;

constexpr const char* kTuples =
    "SELECT tenant_id, created_tx_id::text, expired_tx_id::text, entity_type, entity_id, relation, subject_type,"
    " subject_id, subject_relation FROM relation_tuples ORDER BY id";
constexpr const char* kAttributes =
    "SELECT tenant_id, created_tx_id::text, expired_tx_id::text, entity_type, entity_id, attribute, value::text"
    " FROM attributes ORDER BY id";
constexpr const char* kNever = "9223372036854775807";

uint64_t number(const pqxx::field& field) { return std::stoull(field.c_str()); }

void add(Changes& changes, const pqxx::row& row, pb::DataChange change, int rank) {
  const std::string tenant = row[0].c_str();
  const std::string expired = row[2].c_str();
  if (expired != kNever) {
    change.set_operation(pb::DataChange::OPERATION_DELETE);
    changes[{tenant, std::stoull(expired)}].emplace_back(rank, change);
  }
  // A row that one transaction made and ended shows as its end only.
  if (expired == row[1].c_str()) return;
  change.set_operation(pb::DataChange::OPERATION_CREATE);
  changes[{tenant, number(row[1])}].emplace_back(rank + 2, change);
}

pb::DataChange tuple_of(const pqxx::row& row) {
  pb::DataChange change;
  pb::Tuple& tuple = *change.mutable_tuple();
  tuple.mutable_entity()->set_type(row[3].c_str());
  tuple.mutable_entity()->set_id(row[4].c_str());
  tuple.set_relation(row[5].c_str());
  tuple.mutable_subject()->set_type(row[6].c_str());
  tuple.mutable_subject()->set_id(row[7].c_str());
  tuple.mutable_subject()->set_relation(row[8].c_str());
  return change;
}

pb::DataChange attribute_of(const pqxx::row& row) {
  pb::DataChange change;
  pb::Attribute& attribute = *change.mutable_attribute();
  attribute.mutable_entity()->set_type(row[3].c_str());
  attribute.mutable_entity()->set_id(row[4].c_str());
  attribute.set_attribute(row[5].c_str());
  if (!google::protobuf::util::JsonStringToMessage(row[6].c_str(), attribute.mutable_value()).ok()) {
    throw std::runtime_error(std::string("not an attribute value: ") + row[6].c_str());
  }
  return change;
}

}  // namespace

std::map<std::string, std::vector<TrueTransaction>> read_truth(const std::string& uri) {
  // The messages that an Any may hold must be known to the process before JSON can name them.
  pb::BooleanValue::descriptor();
  pqxx::connection connection(uri);
  pqxx::transaction<pqxx::repeatable_read> work(connection);
  Changes changes;
  for (const pqxx::row& row : work.exec(kTuples)) add(changes, row, tuple_of(row), 0);
  for (const pqxx::row& row : work.exec(kAttributes)) add(changes, row, attribute_of(row), 1);
  std::map<std::string, std::vector<TrueTransaction>> truth;
  // Not by the column of the answer, which is text: 999 would come behind 1000.
  for (const pqxx::row& row : work.exec("SELECT t.tenant_id, t.id::text FROM transactions t ORDER BY t.id")) {
    const Place place(row[0].c_str(), number(row[1]));
    auto& own = changes[place];
    std::stable_sort(own.begin(), own.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
    TrueTransaction transaction{place.second, {}};
    for (auto& [rank, change] : own) transaction.changes.push_back(std::move(change));
    truth[place.first].push_back(std::move(transaction));
  }
  return truth;
}

}  // namespace headgate::testing
