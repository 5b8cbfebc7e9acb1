// Which rights the engine's role needs in its database, and the SQL by which somebody else prepares one for it.
// docs/rights.md lists them for operators.
#pragma once

#include <pqxx/pqxx>
#include <string>

#include "base/status.h"

namespace headgate::engine {

// What a process does there; it reads in any case.
struct Duties {
  bool writes = true;    // role `write`
  bool watches = true;   // role `watch`
  bool collects = true;  // gc.enabled
};

// FAILED_PRECONDITION names every right on what is there that the role lacks, and the statements that grant them. What
// is missing altogether is nobody's right. Throws as libpqxx does.
Status check_rights(pqxx::connection_base& connection, const Duties& duties);

// For psql, as somebody who may do all of it, in the database: everything that a first start would make, and the rights
// of `role`. May be run again. A comment says so at its head.
std::string preparation_sql(const std::string& role);

}  // namespace headgate::engine
