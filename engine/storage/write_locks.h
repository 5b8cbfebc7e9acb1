// Which advisory locks a write takes before its transaction begins, so that writers of one key take turns.
//
// SERIALIZABLE alone does not order them: an insert that skips existing rows looks at the index without a snapshot.
// When a deletion of the same tuple commits after the insert's snapshot, the insert goes through, although its
// transaction has not seen the deletion and may even have the lower xid. Then xid order would replay to a different
// state, and a token could show a tuple twice. A writer that takes its snapshot after it has the locks of its keys has
// seen every earlier change of them; that is what makes xid order an order of history.
//
// A write of few keys shares the tenant's lock and takes one lock per key; a write of many keys, or a deletion whose
// keys are not known before, takes the tenant's lock alone. Pure logic, not thread-safe.
#pragma once

#include <cstdint>
#include <set>
#include <string>

#include "engine/storage/datastore.h"
#include "engine/storage/write_statements.h"

namespace headgate::engine {

// The lock of everything a tenant owns.
int64_t tenant_lock(const std::string& tenant);

// The statement that takes it until the transaction ends, before that gets its xid.
std::string lock_tenant_sql(const std::string& tenant);
// The same, beside other writers.
std::string share_tenant_sql(const std::string& tenant);

class WriteLocks {
 public:
  explicit WriteLocks(const std::string& tenant);

  void add(const std::vector<base::v1::Tuple>& tuples);
  void add(const std::vector<base::v1::Attribute>& attributes);
  void add(const base::v1::TupleFilter& filter);
  void add(const base::v1::AttributeFilter& filter);

  // Waits for all of them as locks of the session; without a name when none is needed.
  Statement statement() const;
  // True when the whole tenant is locked.
  bool exclusive() const;

 private:
  void add(char kind, std::initializer_list<const std::string*> parts);

  const std::string& tenant_;  // outlives this
  bool unbounded_ = false;
  std::set<int64_t> keys_;  // ordered, so that two writers cannot wait for each other
};

}  // namespace headgate::engine
