// Whether a connection to PostgreSQL is a session of its own. A pooler in between may lend a server's session for each
// transaction or statement; prepared statements, settings and advisory locks of a session then belong to somebody else.
#pragma once

#include "base/postgres/connect.h"

namespace headgate {

// Blocks for some connections and statements; two connections at a time. FAILED_PRECONDITION behind a pooler that lends
// by transaction or statement, with what helps. OK also when a second connection is refused, because nothing can be
// told then. Otherwise as connect_libpq(). A pooler under load may be missed: what it lends may be another session each
// time.
Status check_sessions(const PostgresSettings& settings, std::stop_token stop);

}  // namespace headgate
