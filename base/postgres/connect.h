// The one place where connections to PostgreSQL are made.
//
// Blocks for `connect_timeout` at most for looking up each host and for each of its addresses, and obeys the stop
// token. Errors say which server was asked and why it refused, in libpq's words and without a password: UNAVAILABLE,
// INVALID_ARGUMENT for a uri that cannot be read, CANCELLED when stopped.
#pragma once

#include <libpq-fe.h>

#include <memory>
#include <pqxx/pqxx>
#include <stop_token>
#include <string>

#include "base/clock.h"
#include "base/status.h"

namespace headgate {

struct PostgresSettings {
  std::string uri;  // postgres://… or key=value; holds a secret, never logged. What it sets itself stays
  Duration connect_timeout{5'000};
  std::string application_name = "headgate";
};

struct CloseConnection {
  void operator()(PGconn* connection) const { PQfinish(connection); }
};
using PgHandle = std::unique_ptr<PGconn, CloseConnection>;

// Of libpqxx, over a connection that stands already. When it breaks it stays broken: libpqxx 6 would connect again in
// the middle of somebody's work.
class AdoptConnection : public pqxx::connectionpolicy {
 public:
  using connectionpolicy::connectionpolicy;
  handle do_startconnect(handle current) override;
};
using PgConnection = pqxx::basic_connection_base<AdoptConnection>;

StatusOr<std::unique_ptr<PgConnection>> connect_postgres(const PostgresSettings& settings, std::stop_token stop);
// The same without libpqxx.
StatusOr<PgHandle> connect_libpq(const PostgresSettings& settings, std::stop_token stop);

// Whether libpq understands the uri; connects to nothing. The text names no value of it.
Status check_postgres_uri(const std::string& uri);
// Who logs in with it; the name of this process' user when neither the uri nor PGUSER tells.
std::string postgres_role(const std::string& uri);
// As a name in a statement, whatever is in it.
std::string quoted_name(const std::string& name);
// Whether both name the same servers and database, whoever logs in there and however it proves that. False when one
// cannot be read.
bool same_postgres_place(const std::string& one, const std::string& other);

}  // namespace headgate
