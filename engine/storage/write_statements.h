// The statements of a write after its first one, in order, for one round trip. Pure.
#pragma once

#include <string>
#include <vector>

#include "base/status.h"
#include "engine/storage/datastore.h"
#include "engine/storage/sql.h"

namespace headgate::engine {

// A prepared statement with its parameters as text, or SQL without parameters.
struct Statement {
  std::string name;  // empty: `sql`
  std::vector<std::string> parameters;
  std::string sql;
};

// Prepares what WriteLocks and the functions below name, and headgate_begin, headgate_begin_at_head, headgate_unlock.
extern const char* const kPrepareWrites;

// Collects the work of transaction `xid` of `tenant`.
class WriteStatements {
 public:
  // `quote` outlives this.
  WriteStatements(const Quote& quote, uint64_t xid, const std::string& tenant);

  // Tuples that exist already stay as they are.
  void write(const std::vector<base::v1::Tuple>& tuples);
  // Expires the values that are there, then inserts. INVALID_ARGUMENT for a value that is no base.v1 value.
  Status write(const std::vector<base::v1::Attribute>& attributes);
  void expire(const std::vector<base::v1::Tuple>& tuples);
  void expire(const std::vector<base::v1::Attribute>& attributes);
  // Nothing for an empty filter.
  void expire(const base::v1::TupleFilter& filter);
  void expire(const base::v1::AttributeFilter& filter);

  const std::vector<Statement>& all() const { return statements_; }

 private:
  void write(const base::v1::Tuple& tuple);
  void add(const char* name, const std::vector<std::vector<std::string>>& columns);
  void expire_all(const char* table, const std::string& ids);

  const Quote& quote_;
  const std::string xid_;
  const std::string tenant_;
  std::vector<Statement> statements_;
};

}  // namespace headgate::engine
