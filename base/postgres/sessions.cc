#include "base/postgres/sessions.h"

#include <string>

namespace headgate {

namespace {

// How often one server's session has to be seen in two connections, at most; a busy pooler lends others in between.
constexpr int kLooks = 5;

struct ClearResult {
  void operator()(PGresult* result) const { PQclear(result); }
};
using Result = std::unique_ptr<PGresult, ClearResult>;

Status failed(PGconn* connection) {
  std::string text = PQerrorMessage(connection);
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return PQstatus(connection) == CONNECTION_OK ? internal_error("the database refuses a look at sessions: {}", text)
                                               : unavailable("the database broke the connection: {}", text);
}

Status run(PGconn* connection, const char* sql) {
  const Result result(PQexec(connection, sql));
  return PQresultStatus(result.get()) == PGRES_COMMAND_OK ? ok_status() : failed(connection);
}

// The server's process behind the connection.
StatusOr<std::string> backend(PGconn* connection) {
  const Result result(PQexec(connection, "SELECT pg_backend_pid()"));
  if (PQresultStatus(result.get()) != PGRES_TUPLES_OK) return failed(connection);
  return std::string(PQgetvalue(result.get(), 0, 0));
}

Status lent(const std::string& how) {
  return make_status(
      StatusCode::kFailedPrecondition,
      "the uri leads to a pooler that lends connections by transaction or statement (" + how +
          "), and Headgate needs sessions: let the pooler lend by session (pgbouncer: pool_mode = session),"
          " or connect to PostgreSQL itself");
}

}  // namespace

Status check_sessions(const PostgresSettings& settings, std::stop_token stop) {
  HG_ASSIGN_OR_RETURN(const PgHandle idle, connect_libpq(settings, stop));
  const StatusOr<PgHandle> busy = connect_libpq(settings, stop);
  if (!busy.ok()) return busy.status().code() == StatusCode::kCancelled ? busy.status() : ok_status();
  for (int look = 0; look < kLooks; ++look) {
    HG_ASSIGN_OR_RETURN(const std::string first, backend(idle.get()));
    if (const Status begun = run(busy->get(), "BEGIN"); !begun.ok()) {
      return begun.code() == StatusCode::kUnavailable && look == 0 ? lent("it refuses transactions") : begun;
    }
    HG_ASSIGN_OR_RETURN(const std::string second, backend(busy->get()));
    HG_RETURN_IF_ERROR(run(busy->get(), "COMMIT"));
    if (first == second) return lent("process " + first + " of the server served two of them");
  }
  return ok_status();
}

}  // namespace headgate
