// The tables of the token store in PostgreSQL, and the rights that a relay's role needs on them.
#pragma once

#include <pqxx/pqxx>

#include "base/status.h"

namespace headgate::relay {

// Makes what is missing, and looks whether the role may use all of it. PERMISSION_DENIED names the statements that
// somebody else has to run. Throws as libpqxx does.
Status prepare_tables(pqxx::connection_base& connection);

}  // namespace headgate::relay
