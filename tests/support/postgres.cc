#include "tests/support/postgres.h"

#include <fcntl.h>
#include <pwd.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <optional>
#include <pqxx/pqxx>
#include <stdexcept>
#include <vector>

#include "tests/support/free_port.h"

namespace headgate::testing {

namespace {

namespace fs = std::filesystem;

std::optional<fs::path> find_binaries() {
  std::vector<fs::path> folders;
  std::error_code error;
  for (const auto& version : fs::directory_iterator("/usr/lib/postgresql", error))
    folders.push_back(version.path() / "bin");
  std::sort(folders.rbegin(), folders.rend());
  const char* path = std::getenv("PATH");
  std::string rest = path == nullptr ? "" : path;
  while (!rest.empty()) {
    const size_t colon = rest.find(':');
    folders.emplace_back(rest.substr(0, colon));
    rest = colon == std::string::npos ? "" : rest.substr(colon + 1);
  }
  for (const fs::path& folder : folders) {
    if (fs::exists(folder / "initdb") && fs::exists(folder / "postgres")) return folder;
  }
  return std::nullopt;
}

// One server, from construction to destruction.
class Server {
 public:
  explicit Server(const fs::path& binaries) : binaries_(binaries) {
    std::string folder = (fs::temp_directory_path() / "headgate-postgres-XXXXXX").string();
    if (::mkdtemp(folder.data()) == nullptr) throw std::runtime_error("cannot make a temporary folder");
    folder_ = folder;
    if (::geteuid() == 0) {
      // PostgreSQL refuses to run as root.
      const passwd* user = ::getpwnam("postgres");
      if (user == nullptr) throw std::runtime_error("running as root, and there is no user postgres");
      user_ = user->pw_uid;
      group_ = user->pw_gid;
      if (::chown(folder.c_str(), user_, group_) != 0) throw std::runtime_error("cannot hand the folder to postgres");
    }
    const pid_t init = launch({(binaries_ / "initdb").string(), "-D", data(), "-U", "postgres", "-A", "trust", "-E",
                               "UTF8", "--locale=C.UTF-8", "--no-sync", "--no-instructions"});
    int code = 0;
    if (::waitpid(init, &code, 0) != init || code != 0) throw std::runtime_error("initdb failed, see " + log());
    // Somebody else may have taken the port in the meantime.
    bool started = false;
    for (int attempt = 0; attempt < 3 && !started; ++attempt) started = start();
    if (!started) throw std::runtime_error("PostgreSQL did not start, see " + log());
  }

  ~Server() {
    if (server_ > 0) {
      ::kill(server_, SIGQUIT);
      ::waitpid(server_, nullptr, 0);
    }
    std::error_code ignored;
    fs::remove_all(folder_, ignored);
  }

  std::string uri(const std::string& database) const {
    return "postgresql://postgres@127.0.0.1:" + std::to_string(port_) + "/" + database;
  }

 private:
  bool start() {
    port_ = free_port();
    server_ = launch({(binaries_ / "postgres").string(),
                      "-D",
                      data(),
                      "-p",
                      std::to_string(port_),
                      "-h",
                      "127.0.0.1",
                      "-k",
                      folder_.string(),
                      "-c",
                      "fsync=off",
                      "-c",
                      "full_page_writes=off",
                      "-c",
                      "max_connections=200",
                      "-c",
                      "shared_buffers=64MB",
                      "-c",
                      "max_prepared_transactions=20",
                      "-c",
                      "track_commit_timestamp=on",
                      "-c",
                      "wal_level=logical"});
    wait_until([&] { return answers() || ended(); }, std::chrono::seconds(60));
    return server_ > 0 && answers();
  }

  // Of a server that gave up.
  bool ended() {
    if (::waitpid(server_, nullptr, WNOHANG) != server_) return false;
    server_ = -1;
    return true;
  }

  std::string data() const { return (folder_ / "data").string(); }
  std::string log() const { return (folder_ / "log").string(); }

  pid_t launch(std::vector<std::string> arguments) const {
    std::vector<char*> argv;
    for (std::string& argument : arguments) argv.push_back(argument.data());
    argv.push_back(nullptr);
    const std::string log_path = log();
    const pid_t parent = ::getpid();
    const pid_t child = ::fork();
    if (child < 0) throw std::runtime_error("fork failed");
    if (child > 0) return child;
    const int file = ::open(log_path.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0666);
    ::dup2(file, STDOUT_FILENO);
    ::dup2(file, STDERR_FILENO);
    ::setpgid(0, 0);
    if (user_ != 0 && (::setgid(group_) != 0 || ::setuid(user_) != 0)) ::_exit(126);
    // After setuid, which would clear it: the server must not outlive a test program that crashes.
    ::prctl(PR_SET_PDEATHSIG, SIGQUIT);
    if (::getppid() != parent) ::_exit(125);
    ::setenv("LC_ALL", "C.UTF-8", 1);
    if (::chdir("/") != 0) ::_exit(124);
    ::execv(argv[0], argv.data());
    ::_exit(127);
  }

  bool answers() const {
    try {
      pqxx::connection connection(uri("postgres"));
      return connection.is_open();
    } catch (const std::exception&) {
      return false;
    }
  }

  fs::path binaries_;
  int port_ = 0;
  fs::path folder_;
  uid_t user_ = 0;
  gid_t group_ = 0;
  pid_t server_ = -1;
};

std::string run(const std::string& uri, const std::string& sql) {
  pqxx::connection connection(uri);
  pqxx::nontransaction work(connection);
  const pqxx::result result = work.exec(sql);
  return result.empty() || result[0][0].is_null() ? "" : result[0][0].as<std::string>();
}

// `uri` with another database. Handles both spellings that libpq knows.
std::string with_database(const std::string& uri, const std::string& name) {
  if (uri.rfind("postgres", 0) != 0 || uri.find("://") == std::string::npos) return uri + " dbname=" + name;
  const size_t host = uri.find("://") + 3;
  const size_t query = std::min(uri.find('?', host), uri.size());
  const size_t slash = std::min(uri.find('/', host), query);
  return uri.substr(0, slash) + "/" + name + uri.substr(query);
}

std::string noted(const std::string& uri) {
  used_server("postgresql " + run(uri, "SHOW server_version"));
  return uri;
}

// Of the server that this program starts; empty when there is none to be had.
const std::string& own_uri() {
  static const std::string uri = [] {
    const auto binaries = find_binaries();
    if (!binaries) return std::string();
    static const Server server(*binaries);
    return noted(server.uri("postgres"));
  }();
  return uri;
}

const std::string& admin_uri() {
  static const std::string given = [] {
    const char* uri = std::getenv("HEADGATE_TEST_POSTGRES");
    return uri == nullptr || *uri == '\0' ? std::string() : noted(uri);
  }();
  return given.empty() ? own_uri() : given;
}

}  // namespace

std::unique_ptr<PostgresDatabase> PostgresDatabase::create(const std::string& options) {
  return create_at(admin_uri(), options);
}

std::unique_ptr<PostgresDatabase> PostgresDatabase::create_on_own_server() { return create_at(own_uri(), ""); }

std::unique_ptr<PostgresDatabase> PostgresDatabase::create_at(const std::string& admin, const std::string& options) {
  if (admin.empty()) return nullptr;
  static std::atomic<int> counter{0};
  const std::string name = "headgate_test_" + std::to_string(::getpid()) + "_" + std::to_string(++counter);
  run(admin, "CREATE DATABASE " + name + " " + options);
  return std::unique_ptr<PostgresDatabase>(new PostgresDatabase(admin, with_database(admin, name), name));
}

PostgresDatabase::PostgresDatabase(std::string admin_uri, std::string uri, std::string name)
    : admin_uri_(std::move(admin_uri)), uri_(std::move(uri)), name_(std::move(name)) {}

PostgresDatabase::~PostgresDatabase() {
  try {
    run(admin_uri_, "DROP DATABASE IF EXISTS " + name_ + " WITH (FORCE)");
  } catch (const std::exception&) {
    // The server may have been killed by the test; its folder goes with it.
  }
}

std::string PostgresDatabase::execute(const std::string& sql) const { return run(uri_, sql); }

void PostgresDatabase::disconnect_all() const {
  run(admin_uri_, "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = '" + name_ + "'");
}

}  // namespace headgate::testing
