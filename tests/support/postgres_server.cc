#include "tests/support/postgres_server.h"

#include <pwd.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <pqxx/pqxx>
#include <sstream>
#include <stdexcept>

#include "tests/support/test_main.h"

namespace headgate::testing {

namespace fs = std::filesystem;

namespace {

constexpr const char* kPostgresUser = "postgres";

void run_to_end(const std::vector<std::string>& argv, const std::string& log) {
  Process process({.argv = argv, .log_file = log, .user = kPostgresUser});
  if (!process.wait(std::chrono::seconds(60)) || process.exit_code() != 0) {
    throw std::runtime_error(argv[0] + " failed:\n" + read_file(log));
  }
}

// A server that recovers a backup answers before it has ended that; a standby never ends it.
bool accepts_queries(const std::string& uri, const std::string& data) {
  try {
    pqxx::connection connection(uri);
    const bool recovers = pqxx::nontransaction(connection).exec1("SELECT pg_is_in_recovery()")[0].as<bool>();
    return !recovers || fs::exists(data + "/standby.signal");
  } catch (const std::exception&) {
    return false;
  }
}

std::vector<std::string> postgres_command(const std::string& data, const std::string& folder, int port,
                                          const std::vector<std::string>& settings) {
  std::vector<std::string> argv = {postgres_binaries() + "/postgres",
                                   "-D",
                                   data,
                                   "-p",
                                   std::to_string(port),
                                   "-h",
                                   "127.0.0.1",
                                   "-k",
                                   folder,
                                   "-c",
                                   "fsync=off",
                                   "-c",
                                   "max_connections=300",
                                   "-c",
                                   "max_wal_senders=4",
                                   "-c",
                                   "track_commit_timestamp=on"};
  for (const std::string& setting : settings) {
    argv.push_back("-c");
    argv.push_back(setting);
  }
  return argv;
}

std::string local_uri(int port, const std::string& database) {
  return "postgresql://postgres@127.0.0.1:" + std::to_string(port) + "/" + database;
}

}  // namespace

std::string postgres_binaries() {
  std::error_code none;
  for (const auto& version : fs::directory_iterator("/usr/lib/postgresql", none)) {
    if (fs::exists(version.path() / "bin/initdb")) return version.path() / "bin";
  }
  const char* path = std::getenv("PATH");
  std::stringstream folders(path == nullptr ? "" : path);
  for (std::string folder; std::getline(folders, folder, ':');) {
    if (!folder.empty() && fs::exists(fs::path(folder) / "initdb")) return folder;
  }
  return "";
}

std::string PostgresServer::data_folder(const std::string& folder) {
  fs::create_directories(folder);
  if (::geteuid() == 0) {
    const passwd* user = ::getpwnam(kPostgresUser);
    if (user == nullptr || ::chown(folder.c_str(), user->pw_uid, user->pw_gid) != 0) {
      throw std::runtime_error("cannot hand " + folder + " to the user postgres");
    }
  }
  return folder + "/data";
}

PostgresServer::PostgresServer(const std::string& folder, const std::vector<std::string>& settings, int port)
    : Program({.name = "postgres",
               .argv = postgres_command(data_folder(folder), folder, port, settings),
               .log_file = folder + "/log",
               .user = kPostgresUser,
               .ready = [port, folder] { return accepts_queries(local_uri(port, "postgres"), folder + "/data"); }}),
      folder_(folder),
      settings_(settings),
      port_(port) {}

PostgresServer::PostgresServer(const std::string& folder, const std::vector<std::string>& settings)
    : PostgresServer(folder, settings, free_port()) {
  run_to_end({postgres_binaries() + "/initdb", "-D", folder + "/data", "-U", "postgres", "-A", "trust", "-E", "UTF8",
              "--locale=C.UTF-8", "--no-sync", "--no-instructions"},
             folder + "/initdb.log");
}

std::unique_ptr<PostgresServer> PostgresServer::standby_of(const PostgresServer& primary, const std::string& folder) {
  std::unique_ptr<PostgresServer> standby(new PostgresServer(folder, primary.settings_, free_port()));
  run_to_end({postgres_binaries() + "/pg_basebackup", "-D", folder + "/data", "-R", "-X", "stream", "-c", "fast", "-d",
              primary.uri()},
             folder + "/basebackup.log");
  return standby;
}

std::string PostgresServer::uri(const std::string& database) const { return local_uri(port_, database); }

void PostgresServer::promote() {
  run_to_end({postgres_binaries() + "/pg_ctl", "promote", "-D", folder_ + "/data", "-w"}, folder_ + "/promote.log");
}

void PostgresServer::crash() {
  if (!running()) return;
  signal(SIGQUIT);
  if (!wait(std::chrono::seconds(20))) kill();
}

void PostgresServer::save(const std::string& name) {
  if (running()) {
    run_to_end({postgres_binaries() + "/pg_basebackup", "-D", copy(name), "-X", "stream", "-c", "fast", "-d", uri()},
               folder_ + "/save.log");
  } else {
    run_to_end({"cp", "-a", data(), copy(name)}, folder_ + "/save.log");
  }
}

void PostgresServer::put_back(const std::string& name) {
  crash();
  run_to_end({"rm", "-rf", data()}, folder_ + "/put_back.log");
  run_to_end({"cp", "-a", copy(name), data()}, folder_ + "/put_back.log");
  run_to_end({"rm", "-f", data() + "/postmaster.pid"}, folder_ + "/put_back.log");
}

void PostgresServer::recover_from(const std::string& name) {
  put_back(name);
  run_to_end({"touch", data() + "/recovery.signal"}, folder_ + "/put_back.log");
  run_to_end({"sh", "-c", "echo \"restore_command = 'false'\" >>\"$1\"", "sh", data() + "/postgresql.auto.conf"},
             folder_ + "/put_back.log");
}

void PostgresServer::take_over(PostgresServer& other) {
  crash();
  other.stop();
  run_to_end({"rm", "-rf", data()}, folder_ + "/take_over.log");
  run_to_end({"mv", other.data(), data()}, folder_ + "/take_over.log");
}

void PostgresServer::dump(const std::string& database, const std::string& file) const {
  run_to_end({postgres_binaries() + "/pg_dump", "-d", uri(database), "-f", file}, folder_ + "/dump.log");
}

void PostgresServer::restore(const std::string& database, const std::string& file) const {
  const std::string log = folder_ + "/restore.log";
  const std::string psql = postgres_binaries() + "/psql";
  run_to_end({psql, "-d", uri("template1"), "-c", "DROP DATABASE " + database + " WITH (FORCE)"}, log);
  run_to_end({psql, "-d", uri("template1"), "-c", "CREATE DATABASE " + database}, log);
  run_to_end({psql, "-q", "-1", "-v", "ON_ERROR_STOP=1", "-d", uri(database), "-f", file}, log);
}

}  // namespace headgate::testing
