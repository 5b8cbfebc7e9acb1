#include "base/postgres/errors.h"

#include <pqxx/pqxx>

#include "base/refusals.h"

namespace headgate {
namespace {

StatusCode code_of(std::string_view state) {
  const std::string_view family = state.substr(0, 2);
  if (family == "40" || state == "23505") return StatusCode::kAborted;
  if (state == "57014") return StatusCode::kDeadlineExceeded;
  // 57P0x: the server is shutting down, crashed or not yet ready. 53300: too many connections.
  if (state.substr(0, 3) == "57P" || family == "08" || state == "53300") return StatusCode::kUnavailable;
  if (state == "53100" || state == "53200") return StatusCode::kResourceExhausted;
  if (state == "42501") return StatusCode::kPermissionDenied;
  return StatusCode::kInternal;
}

// Without the end of line, and on one line.
std::string plain(std::string_view text) {
  std::string out(text);
  while (!out.empty() && out.back() == '\n') out.pop_back();
  for (size_t at = 0; (at = out.find('\n', at)) != std::string::npos;) out.replace(at, 1, "; ");
  return out;
}

}  // namespace

bool no_connection_left(const Status& status) {
  if (status.code() != StatusCode::kUnavailable) return false;
  const std::string text = message_of(status);
  // The second is what PgBouncer says.
  return text.find("53300: ") != std::string::npos || text.find("no more connections allowed") != std::string::npos;
}

Status status_of_sqlstate(const std::string& state, std::string_view message) {
  // The server's errors of a session that is not set up come without one.
  if (state.empty()) return make_status(StatusCode::kInternal, plain(message));
  const RefusalRow* row = find_refusal(ServerKind::kPostgres, state);
  return with_refusal(status_of(code_of(state), "SQLSTATE {}: {}", state, plain(message)),
                      row == nullptr ? RefusalKind::kAway : row->kind);
}

Status status_of_postgres_exception() {
  try {
    throw;
  } catch (const pqxx::broken_connection& error) {
    return unavailable("{}: {}", kDatabaseAway, plain(error.what()));
  } catch (const pqxx::in_doubt_error&) {
    return unavailable("the connection to the database broke during COMMIT; the outcome is not known");
  } catch (const pqxx::statement_completion_unknown&) {
    return unavailable("the database does not know whether the statement completed");
  } catch (const pqxx::transaction_rollback& error) {
    // Class 40: serialization failures and deadlocks. libpqxx does not count them among its SQL errors.
    return status_of(StatusCode::kAborted, "SQLSTATE class 40: {}", plain(error.what()));
  } catch (const pqxx::insufficient_privilege& error) {
    // libpqxx throws this one without its state.
    return status_of_sqlstate("42501", error.what());
  } catch (const pqxx::sql_error& error) {
    return status_of_sqlstate(error.sqlstate(), error.what());
  } catch (const std::exception& error) {
    return internal_error("database access failed: {}", plain(error.what()));
  }
}

}  // namespace headgate
