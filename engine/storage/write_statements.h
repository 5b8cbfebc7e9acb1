// The statements of a write after its first one, as text for one round trip. Pure but for the connection's quoting.
#pragma once

#include <pqxx/pqxx>
#include <string>

#include "base/status.h"
#include "engine/storage/datastore.h"
#include "engine/storage/pool.h"

namespace headgate::engine {

// Prepares what the functions below execute.
const SessionSetup& write_setup();

// Collects the work of transaction `xid` of `tenant` in order.
class WriteStatements {
 public:
  WriteStatements(pqxx::connection& connection, uint64_t xid, const std::string& tenant);

  // Tuples that exist already stay as they are.
  void write(const std::vector<base::v1::Tuple>& tuples);
  // Expires the values that are there, then inserts. INVALID_ARGUMENT for a value that is no base.v1 value.
  Status write(const std::vector<base::v1::Attribute>& attributes);
  void expire(const std::vector<base::v1::Tuple>& tuples);
  void expire(const std::vector<base::v1::Attribute>& attributes);
  // Nothing for an empty filter.
  void expire(const base::v1::TupleFilter& filter);
  void expire(const base::v1::AttributeFilter& filter);

  // All of it, and COMMIT.
  std::string with_commit() const { return sql_ + "COMMIT"; }

 private:
  void write(const base::v1::Tuple& tuple);
  void execute(const char* statement, const std::vector<std::vector<std::string>>& columns);

  pqxx::connection& connection_;
  const uint64_t xid_;
  const std::string tenant_;
  std::string sql_;
};

}  // namespace headgate::engine
