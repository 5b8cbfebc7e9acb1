#include "engine/storage/migrations.h"

#include <sys/socket.h>

#include "base/log.h"
#include "base/postgres/connect.h"
#include "base/postgres/errors.h"
#include "base/socket_watchdog.h"
#include "engine/storage/own_tables.h"
#include "engine/storage/permify_tables.h"
#include "engine/storage/rights.h"

namespace headgate::engine {

namespace {

constexpr int kServerVersionMin = 130008;
constexpr Duration kLockGrace{2'000};
constexpr Duration kCheckTimeout{30'000};  // of a statement that only looks
// Any number that nobody else uses; the same in all versions of this program.
constexpr int64_t kMigrationLock = 0x68656164'67617465;

std::string value(pqxx::connection_base& connection, const std::string& sql) {
  pqxx::nontransaction work(connection);
  const pqxx::result result = work.exec(sql);
  return result.empty() || result[0][0].is_null() ? "" : result[0][0].as<std::string>();
}

Status check_server(pqxx::connection_base& connection) {
  const int version = std::stoi(value(connection, "SHOW server_version_num"));
  if (version >= kServerVersionMin) return ok_status();
  return status_of(StatusCode::kFailedPrecondition,
                   "the database server is PostgreSQL {}, and Headgate needs 13.8 or newer; update the server",
                   value(connection, "SHOW server_version"));
}

// True when the tables are there and current, false on a database without any of them.
StatusOr<bool> has_tables(pqxx::connection_base& connection) {
  const bool versions = !value(connection, "SELECT to_regclass('migrations')::text").empty();
  const bool tuples = !value(connection, "SELECT to_regclass('relation_tuples')::text").empty();
  if (!versions && !tuples) return false;
  const std::string newest =
      versions ? value(connection, "SELECT max(version_id) FROM migrations WHERE is_applied") : std::string();
  const int64_t found = newest.empty() ? 0 : std::stoll(newest);
  if (!tuples || found < kPermifyMigration) {
    return status_of(StatusCode::kFailedPrecondition,
                     "the tables in this database are at migration {} of Permify, and Headgate needs {}; let Permify "
                     "1.7 migrate them first (permify migrate up), or use an empty database",
                     found, kPermifyMigration);
  }
  if (found > kPermifyMigration) {
    log_warn("database_newer_than_known", {{"migration", found}, {"known", kPermifyMigration}});
  }
  return true;
}

// A dump takes the rows along, but not the server's counter of xids. New transactions would sort before old ones: their
// rows would be invisible, and no stream would carry them.
Status check_counter(pqxx::connection_base& connection) {
  const std::string ahead = value(connection,
                                  "SELECT id::text || ', the counter at ' || pg_snapshot_xmax(pg_current_snapshot())"
                                  " FROM transactions WHERE id >= pg_snapshot_xmax(pg_current_snapshot())"
                                  " ORDER BY id DESC LIMIT 1");
  if (ahead.empty()) return ok_status();
  return status_of(StatusCode::kFailedPrecondition,
                   "this database was restored from a dump of another server, and the server's counter of transactions "
                   "was not: the newest transaction is {}; stop the server, advance the counter behind it with "
                   "pg_resetwal (-e and -x), or let Permify do it (permify repair datastore)",
                   ahead);
}

bool has_own_objects(pqxx::connection_base& connection) {
  return !value(connection, "SELECT to_regclass('headgate.incarnations')::text").empty();
}

bool has(pqxx::connection_base& connection, const OwnObjects& objects) {
  return !value(connection, fmt::format("SELECT to_regclass('{}')::text", objects.newest)).empty();
}

// What the role may not do, somebody else has to.
Status needs_owner(pqxx::connection_base& connection, std::string_view what, std::string_view cure) {
  return status_of(StatusCode::kFailedPrecondition,
                   "the role {} may not create {}; let a role that may do it run once: {} (or all that "
                   "headgate-engine --print-sql prints)",
                   value(connection, "SELECT quote_ident(current_user)"), what, cure);
}

Status create_tables(pqxx::connection_base& connection) {
  try {
    pqxx::work work(connection);
    work.exec(kPermifyTables);
    // Nobody waits for empty tables.
    for (const Index& index : kIndexes) {
      work.exec(fmt::format("CREATE INDEX {} ON {} {}", index.name, index.table, index.rows));
    }
    work.commit();
  } catch (const pqxx::insufficient_privilege&) {
    return needs_owner(connection, "Permify's tables",
                       value(connection,
                             "SELECT format('GRANT USAGE, CREATE ON SCHEMA %I TO %I', current_schema(), "
                             "current_user)"));
  }
  log_info("database_created", {{"migration", kPermifyMigration}});
  return ok_status();
}

Status create_schema(pqxx::connection_base& connection) {
  if (!value(connection, "SELECT to_regnamespace('headgate')::text").empty()) return ok_status();
  try {
    pqxx::nontransaction(connection).exec("CREATE SCHEMA IF NOT EXISTS headgate");
    return ok_status();
  } catch (const pqxx::insufficient_privilege&) {
    return needs_owner(connection, "the schema headgate",
                       value(connection, "SELECT format('CREATE SCHEMA headgate AUTHORIZATION %I', current_user)"));
  }
}

Status create_objects(pqxx::connection_base& connection, const OwnObjects& objects) {
  try {
    if (has(connection, objects)) return ok_status();
    pqxx::work work(connection);
    work.exec(objects.sql);
    work.commit();
    return ok_status();
  } catch (const pqxx::insufficient_privilege&) {
    return needs_owner(
        connection, fmt::format("tables in the schema headgate (step {} of its layout)", objects.version),
        value(connection, "SELECT format('GRANT USAGE, CREATE ON SCHEMA headgate TO %I', current_user)"));
  }
}

// Two installations of Permify's tables in one database would share what stands in the schema headgate, and take each
// other's tenants for removed. So the schema says whose it is, in a comment; that of an installation that is gone is
// free.
Status check_installation(pqxx::connection_base& connection) {
  const std::string ours = value(connection, fmt::format("SELECT '{}' || quote_ident(current_schema())", kBelongs));
  const std::string told = value(connection, "SELECT obj_description(to_regnamespace('headgate'), 'pg_namespace')");
  if (told == ours) return ok_status();
  if (told.rfind(kBelongs, 0) == 0) {
    const std::string other = told.substr(std::string_view(kBelongs).size());
    pqxx::nontransaction work(connection);
    if (!work.exec_params1("SELECT to_regclass($1 || '.relation_tuples')", other)[0].is_null()) {
      return status_of(
          StatusCode::kFailedPrecondition,
          "the schema headgate of this database belongs to the tables in schema {}, and one database holds "
          "one installation; use another database, or remove the tables there",
          other);
    }
  }
  if (value(connection, "SELECT pg_is_in_recovery()") == "t") return ok_status();
  try {
    pqxx::nontransaction work(connection);
    work.exec(fmt::format("COMMENT ON SCHEMA headgate IS {}", work.quote(ours)));
  } catch (const pqxx::insufficient_privilege&) {
    // Its owner has not said it, and nobody else can.
  }
  return ok_status();
}

Status create_own_objects(pqxx::connection_base& connection) {
  // What came last is missing on a standby until its primary has it; nothing depends on it.
  const bool standby = value(connection, "SELECT pg_is_in_recovery()") == "t";
  if (standby && has_own_objects(connection)) return ok_status();
  HG_RETURN_IF_ERROR(create_schema(connection));
  HG_RETURN_IF_ERROR(check_installation(connection));
  HG_RETURN_IF_ERROR(create_objects(connection, kFirst));
  // The engine serves without the record of lives: then deletions are noticed by comparison, and told without a place.
  const Status lives = create_objects(connection, kLives);
  if (lives.code() != StatusCode::kFailedPrecondition) return lives;
  log_warn("tenant_lives_not_recorded", {{"reason", message_of(lives)}});
  return ok_status();
}

// A build that was interrupted leaves an index that is maintained but never used; it is dropped and built again.
Status create_index(pqxx::connection_base& connection, const Index& index) {
  const std::string valid = value(
      connection, fmt::format("SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass('{}')", index.name));
  if (valid == "t") return ok_status();
  if (value(connection, "SELECT pg_is_in_recovery()") == "t") {
    return status_of(StatusCode::kFailedPrecondition,
                     "the index {} is not on this standby; start an engine against the primary once", index.name);
  }
  const std::string sql = create_index_sql(index);
  try {
    pqxx::nontransaction work(connection);
    if (valid == "f") {
      log_warn("index_repaired", {{"index", index.name}});
      work.exec(fmt::format("DROP INDEX CONCURRENTLY {}", index.name));
    }
    log_info("index_building", {{"index", index.name}, {"waits_for", "every transaction that is open now"}});
    work.exec(sql);
    return ok_status();
  } catch (const pqxx::insufficient_privilege&) {
    return needs_owner(connection, fmt::format("an index on {}, which another role owns", index.table), sql);
  }
}

// Asks again and again instead of waiting in the server: a session that waits there holds a snapshot, for which the
// index build of the lock's holder would wait in turn.
Status take_lock(pqxx::connection_base& connection, Duration timeout, std::stop_token stop) {
  const MonotonicTime end = system_clock().now() + timeout;
  while (value(connection, fmt::format("SELECT pg_try_advisory_lock({})", kMigrationLock)) != "t") {
    if (system_clock().now() > end) {
      return unavailable("another process has been migrating the database for {} s", timeout.count() / 1000);
    }
    if (!system_clock().sleep(Duration(100), stop)) return make_status(StatusCode::kCancelled, "stopped");
  }
  return ok_status();
}

// `timeout` of a statement; 0: none.
void set_up(pqxx::connection_base& connection, Duration timeout) {
  connection.set_variable("statement_timeout", std::to_string(timeout.count()));
  connection.set_variable("client_min_messages", "warning");
  // So that the server ends a statement, and with it the lock, whose client has left.
  if (connection.server_version() >= 140000) connection.set_variable("client_connection_check_interval", "2000");
}

Status migrate(pqxx::connection_base& connection, const Duties& duties) {
  HG_RETURN_IF_ERROR(check_server(connection));
  HG_RETURN_IF_ERROR(check_rights(connection, duties));
  HG_ASSIGN_OR_RETURN(const bool present, has_tables(connection));
  if (!present) HG_RETURN_IF_ERROR(create_tables(connection));
  HG_RETURN_IF_ERROR(check_counter(connection));
  HG_RETURN_IF_ERROR(create_own_objects(connection));
  for (const Index& index : kIndexes) {
    const Status status = create_index(connection, index);
    if (index.needed || status.code() != StatusCode::kFailedPrecondition) HG_RETURN_IF_ERROR(status);
    if (!status.ok()) log_warn("reads_without_index", {{"reason", message_of(status)}});
  }
  return ok_status();
}

}  // namespace

namespace {

// A statement here may wait for whatever somebody else's transaction holds, so a stop cuts the connection.
template <typename Work>
Status on_connection(const MigrationSettings& settings, std::stop_token stop, const Work& work) {
  // The lock of a migration lives and dies with the session.
  HG_ASSIGN_OR_RETURN(const auto connection,
                      connect_postgres({settings.uri, settings.connect_timeout, "headgate-migration"}, stop));
  const std::stop_callback on_stop(stop, [socket = connection->sock()] { ::shutdown(socket, SHUT_RDWR); });
  try {
    const Status status = work(*connection);
    return stop.stop_requested() ? make_status(StatusCode::kCancelled, "stopped") : status;
  } catch (...) {
    if (stop.stop_requested()) return make_status(StatusCode::kCancelled, "stopped");
    return status_of_postgres_exception();
  }
}

}  // namespace

Status migrate_database(const MigrationSettings& settings, std::stop_token stop) {
  SocketWatchdog watchdog;
  return on_connection(settings, stop, [&](PgConnection& connection) -> Status {
    {
      const auto watch = watchdog.watch(connection.sock(), settings.lock_timeout + kLockGrace);
      set_up(connection, Duration(0));
      HG_RETURN_IF_ERROR(take_lock(connection, settings.lock_timeout, stop));
    }
    return migrate(connection, settings.duties);
  });
}

Status check_database(const MigrationSettings& settings, std::stop_token stop) {
  SocketWatchdog watchdog;
  return on_connection(settings, stop, [&](PgConnection& connection) {
    const auto watch = watchdog.watch(connection.sock(), kCheckTimeout + kLockGrace);
    set_up(connection, kCheckTimeout);
    return check_database(connection, settings.duties);
  });
}

Status check_database(pqxx::connection_base& connection, const Duties& duties) {
  try {
    HG_RETURN_IF_ERROR(check_server(connection));
    HG_RETURN_IF_ERROR(check_rights(connection, duties));
    HG_ASSIGN_OR_RETURN(const bool present, has_tables(connection));
    if (present && has_own_objects(connection)) {
      HG_RETURN_IF_ERROR(check_installation(connection));
      return check_counter(connection);
    }
    return make_status(StatusCode::kFailedPrecondition,
                       "the database has not been prepared for Headgate; start an engine with database.auto_migrate "
                       "against the primary once, or let somebody run there what headgate-engine --print-sql prints");
  } catch (...) {
    return status_of_postgres_exception();
  }
}

}  // namespace headgate::engine
