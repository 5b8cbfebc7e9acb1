// What PostgreSQL itself holds: the committed transactions and their changes, read by plain SQL from the tables that
// Permify's format defines. Shares no code with the engine, so that it can judge what the engine delivers.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/v1/base.pb.h"

namespace headgate::testing {

struct TrueTransaction {
  uint64_t xid = 0;
  // Deletes before creates, each with tuples before attributes, then by row id.
  std::vector<base::v1::DataChange> changes;
};

// Tenant -> its committed transactions, ascending by xid. Throws when the database cannot be read.
std::map<std::string, std::vector<TrueTransaction>> read_truth(const std::string& uri);

}  // namespace headgate::testing
