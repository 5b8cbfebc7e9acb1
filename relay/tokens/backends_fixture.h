// The stores that the contract suite and the tests of each kind run on. lose() takes away what the store holds, also
// while it is open; write_as_before() writes one cursor as the version of before identities did, with no store open.
#pragma once

#include <sqlite3.h>
#include <unistd.h>

#include <filesystem>
#include <stdexcept>

#include "relay/tokens/token_store_contract.h"
#include "tests/support/postgres.h"
#include "tests/support/process.h"

namespace headgate::relay::testing {

using headgate::testing::free_port;
using headgate::testing::PostgresDatabase;
using headgate::testing::Process;
using headgate::testing::read_file;
using headgate::testing::TempFolder;
using headgate::testing::wait_until;
using headgate::testing::write_file;

struct SqliteBackend {
  TempFolder folder;
  const char* missing() const { return nullptr; }
  std::string path() const { return folder.path() + "/tokens.db"; }
  StatusOr<std::unique_ptr<TokenStore>> open(const std::string& scope) { return make_sqlite_store(scope, {path()}); }
  void lose() const { std::filesystem::resize_file(path(), 0); }

  void execute(const std::string& sql) const {
    sqlite3* database = nullptr;
    sqlite3_open(path().c_str(), &database);
    const int code = sqlite3_exec(database, sql.c_str(), nullptr, nullptr, nullptr);
    const std::string error = sqlite3_errmsg(database);
    sqlite3_close(database);
    if (code != SQLITE_OK) throw std::runtime_error(error);
  }
  void write_as_before(const std::string& tenant, uint64_t xid, uint64_t sequence) const {
    execute(
        "CREATE TABLE IF NOT EXISTS owners (scope TEXT PRIMARY KEY, owner TEXT NOT NULL, epoch INTEGER NOT NULL) "
        "WITHOUT ROWID; CREATE TABLE IF NOT EXISTS cursors (scope TEXT NOT NULL, sink TEXT NOT NULL, tenant TEXT "
        "NOT NULL, snap_token TEXT NOT NULL, xid INTEGER NOT NULL, part INTEGER NOT NULL, more_parts INTEGER NOT "
        "NULL, sequence INTEGER NOT NULL, incarnation TEXT NOT NULL, PRIMARY KEY (scope, sink, tenant)) WITHOUT "
        "ROWID; INSERT INTO owners VALUES ('main', 'pod', 1) ON CONFLICT (scope) DO UPDATE SET owner = "
        "excluded.owner, epoch = epoch + 1");
    execute(
        fmt::format("INSERT INTO cursors VALUES ('main', 'kafka', '{}', 'token-{}', {}, 0, 0, {}, '7001/1') ON "
                    "CONFLICT (scope, sink, tenant) DO UPDATE SET snap_token = excluded.snap_token, xid = "
                    "excluded.xid, part = excluded.part, more_parts = excluded.more_parts, sequence = "
                    "excluded.sequence, incarnation = excluded.incarnation",
                    tenant, xid, xid, sequence));
  }
};

struct PostgresBackend {
  std::unique_ptr<PostgresDatabase> database = PostgresDatabase::create();
  const char* missing() const { return database ? nullptr : "no PostgreSQL server binaries on this machine"; }
  StatusOr<std::unique_ptr<TokenStore>> open(const std::string& scope) {
    headgate::testing::used_server("postgresql");
    return make_postgres_store(scope, {.uri = database->uri()}, {});
  }
  void lose() const { database->execute("DROP SCHEMA headgate CASCADE"); }

  void write_as_before(const std::string& tenant, uint64_t xid, uint64_t sequence) const {
    database->execute("CREATE SCHEMA IF NOT EXISTS headgate");
    database->execute(
        "CREATE TABLE IF NOT EXISTS headgate.relay_owners (scope text PRIMARY KEY, owner text NOT NULL, "
        "epoch bigint NOT NULL, since timestamptz NOT NULL DEFAULT now())");
    database->execute(
        "CREATE TABLE IF NOT EXISTS headgate.relay_cursors (scope text NOT NULL, sink text NOT NULL, "
        "tenant text NOT NULL, snap_token text NOT NULL, xid bigint NOT NULL, part bigint NOT NULL, "
        "more_parts boolean NOT NULL, sequence bigint NOT NULL, incarnation text NOT NULL, updated_at "
        "timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (scope, sink, tenant)) WITH (fillfactor = 70)");
    database->execute(
        "INSERT INTO headgate.relay_owners AS o (scope, owner, epoch) VALUES ('main', 'pod', 1) "
        "ON CONFLICT (scope) DO UPDATE SET owner = excluded.owner, epoch = o.epoch + 1");
    database->execute(
        fmt::format("INSERT INTO headgate.relay_cursors (scope, sink, tenant, snap_token, xid, part, more_parts, "
                    "sequence, incarnation) VALUES ('main', 'kafka', '{}', 'token-{}', {}, 0, false, {}, '7001/1') ON "
                    "CONFLICT (scope, sink, tenant) DO UPDATE SET snap_token = excluded.snap_token, xid = "
                    "excluded.xid, part = excluded.part, more_parts = excluded.more_parts, sequence = "
                    "excluded.sequence, incarnation = excluded.incarnation, updated_at = now()",
                    tenant, xid, xid, sequence));
  }
};

// A private redis-server that keeps its data over the life of the object only.
struct RedisBackend {
  TempFolder folder;
  int port = free_port();
  std::unique_ptr<Process> server;
  std::string password;
  bool installed = access("/usr/bin/redis-server", X_OK) == 0;

  RedisBackend() {
    if (installed) start({});
  }
  void start(std::vector<std::string> more) {
    std::vector<std::string> argv{"redis-server", "--port", std::to_string(port), "--save", "", "--dir", folder.path()};
    argv.insert(argv.end(), more.begin(), more.end());
    server = std::make_unique<Process>(Process::Options{.argv = argv, .log_file = folder.path() + "/log"});
    if (!wait_until([&] { return open("probe").ok(); })) throw std::runtime_error("redis-server does not answer");
    headgate::testing::used_server("redis");
  }
  const char* missing() const { return installed ? nullptr : "no redis-server on this machine"; }
  StatusOr<std::unique_ptr<TokenStore>> open(const std::string& scope) {
    RedisStoreSettings settings;
    settings.connection.port = static_cast<uint16_t>(port);
    settings.connection.password = password;
    settings.connection.command_timeout = Duration(2000);
    return make_redis_store(scope, settings, {});
  }
  void command(std::vector<std::string> words) const {
    std::vector<std::string> argv{"redis-cli", "-p", std::to_string(port)};
    argv.insert(argv.end(), words.begin(), words.end());
    Process run(Process::Options{.argv = argv});
    if (!run.wait(std::chrono::seconds(5)) || run.exit_code() != 0) throw std::runtime_error("redis-cli failed");
  }
  void lose() const { command({"FLUSHALL"}); }

  void write_as_before(const std::string& tenant, uint64_t xid, uint64_t sequence) const {
    command({"HINCRBY", "headgate:{main}:relay:owner", "epoch", "1"});
    command({"SADD", "headgate:{main}:relay:sinks", "kafka"});
    command({"HSET", "headgate:{main}:relay:cursors:kafka", tenant,
             fmt::format("{}\t0\t0\t{}\t7001/1\ttoken-{}", xid, sequence, xid)});
  }
};

}  // namespace headgate::relay::testing
