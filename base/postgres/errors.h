// Errors of PostgreSQL as Status, the same for engine and relay.
//
//   cannot connect, broken connection      UNAVAILABLE
//   57P0x, 08xxx, 53300 (connections)      UNAVAILABLE
//   class 40, 23505                        ABORTED
//   57014 (statement timeout, cancel)      DEADLINE_EXCEEDED
//   53100, 53200 (disk full, memory)       RESOURCE_EXHAUSTED
//   42501 (rights)                         PERMISSION_DENIED
//   any other SQL error                    INTERNAL with SQLSTATE and the server's primary message
#pragma once

#include <string>
#include <string_view>

#include "base/status.h"

namespace headgate {

// How every message begins that says that the database cannot be reached. What follows names servers and users: it is
// for operators, not for clients.
inline constexpr std::string_view kDatabaseAway = "the database cannot be reached";

// Whether the server, or the pooler in front of it, took no connection because there are too many, of all or of this
// role: one that is there already can still be used, and a new one may be had later.
bool no_connection_left(const Status& status);

// REQUIRES: called inside a catch block.
Status status_of_postgres_exception();
// The same for an error of the server that was not thrown.
Status status_of_sqlstate(const std::string& state, std::string_view message);

}  // namespace headgate
