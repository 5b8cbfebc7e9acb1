// An evaluator that shares nothing with the one that is tested: it reads every row of a small world with its own SQL
// and fills a table of all entities and names until nothing changes. Slow, and simple enough to be right by reading.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "base/snap_token.h"
#include "base/v1/service.pb.h"
#include "tests/support/engine_session.h"

namespace headgate::engine {

// Everything a tenant has at a state, and what a request adds.
struct OracleRows {
  struct Subject {
    std::string type, id, relation;
    auto operator<=>(const Subject&) const = default;
  };
  using Relation = std::pair<std::string, std::string>;  // "doc:1", "viewer"

  std::map<Relation, std::set<Subject>> tuples;
  std::map<Relation, std::string> values;                 // an attribute's value as text
  std::map<std::string, std::set<std::string>> known;     // type -> ids, of entities and subjects
  std::map<std::string, std::set<std::string>> subjects;  // the same of subjects alone
};

OracleRows oracle_rows(testing::EngineSession& session, const std::string& tenant, const SnapToken& at);
void add_context(OracleRows& rows, const base::v1::Context& context);

enum class Truth : uint8_t { kNo, kError, kYes };

class Oracle {
 public:
  // `ids`: of every type that has members.
  Oracle(const base::v1::SchemaDefinition& schema, const OracleRows& rows, const std::vector<std::string>& ids,
         OracleRows::Subject subject);
  Truth of(const std::string& type, const std::string& id, const std::string& name) const {
    return result_.at({type + ":" + id, name});
  }

 private:
  using Table = std::map<OracleRows::Relation, Truth>;

  Table fill(const Table& denied_by) const;
  Truth value(const std::string& type, const std::string& id, const std::string& name, const Table& now,
              const Table& denied_by) const;
  Truth value(const std::string& type, const std::string& id, const base::v1::Child& child, const Table& now,
              const Table& denied_by) const;
  Truth leaf(const std::string& type, const std::string& id, const base::v1::Leaf& leaf, const Table& now) const;
  Truth attribute(const std::string& type, const std::string& id, const std::string& name) const;

  const base::v1::SchemaDefinition& schema_;
  const OracleRows& rows_;
  const OracleRows::Subject subject_;
  std::vector<OracleRows::Relation> places_;
  Table result_;
};

}  // namespace headgate::engine
