#include "base/postgres/connect.h"

#include <absl/strings/match.h>
#include <absl/strings/str_replace.h>
#include <absl/strings/str_split.h>
#include <poll.h>
#include <sys/socket.h>

#include <array>

#include "base/postgres/errors.h"
#include "base/postgres/resolve.h"
#include "base/refusals.h"
#include "base/settings.h"

namespace headgate {
namespace {

constexpr Duration kSlice{50};
constexpr int kAddressesMax = 8;

struct FreeOptions {
  void operator()(PQconninfoOption* options) const { PQconninfoFree(options); }
};
using Options = std::unique_ptr<PQconninfoOption, FreeOptions>;
using Parameters = std::vector<std::pair<std::string, std::string>>;

// Parsers quote what they stumbled over, which may be a part of the password; only names of parameters are told.
std::string without_values(std::string text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  const size_t quote = text.find('"');
  if (text.rfind("invalid connection option", 0) == 0 || text.rfind("invalid URI query parameter", 0) == 0) return text;
  return quote == std::string::npos ? text : text.substr(0, text.find_last_not_of(" :", quote - 1) + 1);
}

StatusOr<Options> parse(const std::string& uri) {
  const size_t scheme = uri.find("://");
  if (scheme != std::string::npos && uri.find_first_of(" =") > scheme && uri.rfind("postgres://", 0) != 0 &&
      uri.rfind("postgresql://", 0) != 0) {
    return invalid_argument("must begin with postgres:// or postgresql://, not with {}://", uri.substr(0, scheme));
  }
  char* error = nullptr;
  Options options(PQconninfoParse(uri.c_str(), &error));
  if (options != nullptr) return options;
  const std::string reason = without_values(error == nullptr ? "out of memory" : error);
  PQfreemem(error);
  const bool unknown = reason.rfind("invalid URI query parameter", 0) == 0;
  return invalid_argument(
      "cannot be read by libpq: {}{}", reason,
      unknown ? "; parameters of other drivers, such as pgx, are not known to it: leave them out" : "");
}

std::string option(const Options& options, std::string_view keyword) {
  for (const PQconninfoOption* one = options.get(); one->keyword != nullptr; ++one) {
    if (one->keyword == keyword) return one->val == nullptr ? "" : one->val;
  }
  return "";
}

std::vector<std::string> items(const std::string& text) { return absl::StrSplit(text, ','); }

// What to lay over the uri so that it names one server; one entry for each attempt. libpq's own way through several
// hosts knows no limit for each of them when it does not block.
std::vector<Parameters> servers_of(const Options& options) {
  const std::vector<std::string> hosts = items(option(options, "host"));
  const std::vector<std::string> addresses = items(option(options, "hostaddr"));
  const std::vector<std::string> ports = items(option(options, "port"));
  const size_t count = std::max(hosts.size(), addresses.size());
  const auto fits = [&](const std::vector<std::string>& list) { return list.size() == 1 || list.size() == count; };
  if (count == 1 || !fits(hosts) || !fits(addresses) || !fits(ports)) return {{}};
  const bool prefers = option(options, "target_session_attrs") == "prefer-standby";
  std::vector<Parameters> all;
  for (const char* attributes : {"standby", "any"}) {
    for (size_t i = 0; i < count; ++i) {
      Parameters one;
      const auto add = [&](const char* key, const std::vector<std::string>& list) {
        const std::string& value = list.size() == 1 ? list[0] : list[i];
        if (!value.empty()) one.emplace_back(key, value);
      };
      add("host", hosts);
      add("hostaddr", addresses);
      add("port", ports);
      if (prefers) one.emplace_back("target_session_attrs", attributes);
      all.push_back(std::move(one));
    }
    if (!prefers) break;
  }
  return all;
}

// One entry for each address of the server's name: libpq would look it up itself, for as long as the resolver takes.
// The name stays, for certificates and password files.
StatusOr<std::vector<Parameters>> by_address(const Options& options, const Parameters& server, Duration limit,
                                             std::stop_token stop) {
  const auto value = [&](std::string_view key) {
    for (const auto& [name, text] : server) {
      if (name == key) return text;
    }
    return option(options, key);
  };
  const std::string host = value("host");
  if (!value("hostaddr").empty() || !is_host_name(host) || host.find(',') != std::string::npos) return {{server}};
  HG_ASSIGN_OR_RETURN(const std::vector<std::string> addresses, resolve_name(host, limit, std::move(stop)));
  const bool prefers = value("target_session_attrs") == "prefer-standby" && addresses.size() > 1;
  std::vector<Parameters> all;
  for (const char* attributes : {"standby", "any"}) {
    for (const std::string& address : addresses) {
      Parameters one = server;
      one.emplace_back("hostaddr", address);
      if (prefers) one.emplace_back("target_session_attrs", attributes);
      all.push_back(std::move(one));
    }
    if (!prefers) break;
  }
  return all;
}

// libpq heeds its own option only where it blocks.
Duration limit_of(const Options& options, Duration otherwise) {
  const StatusOr<int64_t> seconds = parse_integer(option(options, "connect_timeout"), 1, 1'000'000);
  return seconds.ok() ? std::chrono::seconds(std::max<int64_t>(2, *seconds)) : otherwise;
}

PgHandle start(const PostgresSettings& settings, const Parameters& server) {
  Parameters all = {{"fallback_application_name", settings.application_name},
                    {"keepalives_idle", "5"},
                    {"keepalives_interval", "2"},
                    {"keepalives_count", "3"},
                    {"tcp_user_timeout", "10000"},
                    {"dbname", settings.uri}};
  all.insert(all.end(), server.begin(), server.end());
  std::vector<const char*> keys, values;
  for (const auto& [key, value] : all) {
    keys.push_back(key.c_str());
    values.push_back(value.c_str());
  }
  keys.push_back(nullptr);
  values.push_back(nullptr);
  return PgHandle(PQconnectStartParams(keys.data(), values.data(), 1));
}

std::string error_of(PGconn* connection) {
  std::string text;
  const std::vector<std::string> lines = absl::StrSplit(PQerrorMessage(connection), '\n', absl::SkipWhitespace());
  for (const std::string& line : lines) {
    if (absl::StartsWith(line, "LOCATION:")) continue;
    text += (text.empty() ? "" : "; ") + line.substr(line.find_first_not_of(" \t"));
  }
  return mask_secrets(text);
}

Status away(std::string_view reason) { return unavailable("{}: {}", kDatabaseAway, reason); }

// Of "FATAL:  28P01: password authentication failed ...": what kind of refusal that is.
RefusalKind kind_in(std::string_view text) {
  constexpr std::string_view kFatal = "FATAL:  ";
  const size_t at = text.find(kFatal);
  const RefusalRow* row =
      at == std::string_view::npos ? nullptr : find_refusal(ServerKind::kPostgres, text.substr(at + kFatal.size(), 5));
  return row == nullptr ? RefusalKind::kAway : row->kind;
}

Status log_in(PGconn* connection, Duration limit, std::stop_token stop) {
  if (connection == nullptr) return status_of(StatusCode::kResourceExhausted, "no memory for a connection");
  // Only so a refusal tells its SQLSTATE, which is the same in every language.
  PQsetErrorVerbosity(connection, PQERRORS_VERBOSE);
  MonotonicTime end = std::chrono::steady_clock::now() + limit;
  PostgresPollingStatusType state =
      PQstatus(connection) == CONNECTION_BAD ? PGRES_POLLING_FAILED : PGRES_POLLING_WRITING;
  for (int addresses = 1; state != PGRES_POLLING_OK;) {
    if (state == PGRES_POLLING_FAILED) return away(error_of(connection));
    if (stop.stop_requested()) return make_status(StatusCode::kCancelled, "stopped while connecting to the database");
    pollfd socket{PQsocket(connection), static_cast<short>(state == PGRES_POLLING_READING ? POLLIN : POLLOUT), 0};
    if (::poll(&socket, 1, static_cast<int>(kSlice.count())) > 0) {
      state = PQconnectPoll(connection);
    } else if (std::chrono::steady_clock::now() > end) {
      if (PQstatus(connection) != CONNECTION_STARTED || addresses++ == kAddressesMax) {
        return away(fmt::format("the server at {}, port {}, does not answer within {} ms", PQhost(connection),
                                PQport(connection), limit.count()));
      }
      // As refused: libpq goes on to the next address of the name, or says which one it was.
      ::shutdown(socket.fd, SHUT_RDWR);
      end = std::chrono::steady_clock::now() + limit;
    }
  }
  return ok_status();
}

// The handle on its way into the constructor of libpqxx, which only passes texts on.
thread_local PGconn* to_adopt = nullptr;

}  // namespace

AdoptConnection::handle AdoptConnection::do_startconnect(handle current) {
  if (current == nullptr) current = std::exchange(to_adopt, nullptr);
  if (current == nullptr) throw pqxx::broken_connection("the connection was lost");
  return current;
}

StatusOr<PgHandle> connect_libpq(const PostgresSettings& settings, std::stop_token stop) {
  const StatusOr<Options> options = parse(settings.uri);
  if (!options.ok()) return invalid_argument("the uri of the database {}", message_of(options.status()));
  const Duration limit = limit_of(*options, settings.connect_timeout);
  std::string refusals;
  const auto refuse = [&](const std::string& text) { refusals += (refusals.empty() ? "" : "; ") + text; };
  for (const Parameters& server : servers_of(*options)) {
    const StatusOr<std::vector<Parameters>> addresses = by_address(*options, server, limit, stop);
    if (addresses.status().code() == StatusCode::kCancelled) return addresses.status();
    if (!addresses.ok()) refuse(message_of(addresses.status()));
    for (const Parameters& one : addresses.ok() ? *addresses : std::vector<Parameters>{}) {
      PgHandle made = start(settings, one);
      const Status status = log_in(made.get(), limit, stop);
      if (status.ok()) {
        PQsetErrorVerbosity(made.get(), PQERRORS_DEFAULT);
        return made;
      }
      if (status.code() != StatusCode::kUnavailable) return status;
      refuse(message_of(status).substr(kDatabaseAway.size() + 2));
    }
  }
  return with_refusal(away(refusals), kind_in(refusals));
}

StatusOr<std::unique_ptr<PgConnection>> connect_postgres(const PostgresSettings& settings, std::stop_token stop) {
  HG_ASSIGN_OR_RETURN(PgHandle made, connect_libpq(settings, stop));
  to_adopt = made.release();
  try {
    return std::make_unique<PgConnection>(std::string());
  } catch (const std::exception& error) {
    PQfinish(std::exchange(to_adopt, nullptr));
    return away(mask_secrets(error.what()));
  }
}

Status check_postgres_uri(const std::string& uri) { return parse(uri).status(); }

std::string postgres_role(const std::string& uri) {
  const StatusOr<Options> told = parse(uri);
  if (told.ok() && !option(*told, "user").empty()) return option(*told, "user");
  const Options usual(PQconndefaults());
  return usual == nullptr ? "" : option(usual, "user");
}

std::string quoted_name(const std::string& name) { return '"' + absl::StrReplaceAll(name, {{"\"", "\"\""}}) + '"'; }

bool same_postgres_place(const std::string& one, const std::string& other) {
  const StatusOr<Options> a = parse(one), b = parse(other);
  if (!a.ok() || !b.ok()) return false;
  for (const char* keyword : {"host", "hostaddr", "port", "dbname", "options", "target_session_attrs"}) {
    if (option(*a, keyword) != option(*b, keyword)) return false;
  }
  return true;
}

}  // namespace headgate
