#include "tests/support/servers.h"

#include <arpa/inet.h>
#include <httplib.h>
#include <pwd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <deque>
#include <filesystem>
#include <fstream>
#include <pqxx/pqxx>
#include <sstream>
#include <stdexcept>

#include "tests/support/test_main.h"

namespace headgate::testing {

namespace fs = std::filesystem;

void Program::launch() {
  process_ = std::make_unique<Process>(Process::Options{
      .argv = options_.argv, .env = options_.env, .log_file = options_.log_file, .user = options_.user});
}

void Program::start() {
  launch();
  await_ready();
}

void Program::await_ready() {
  const bool ready = wait_until([this] { return !process_->running() || options_.ready(); }, options_.start_timeout);
  if (!ready || !process_->running()) {
    const std::string how = process_->running() ? "is not ready" : "ended, " + std::to_string(process_->exit_code());
    throw std::runtime_error(options_.name + " " + how + "; its log ends with:\n" + log_tail());
  }
}

int Program::stop(std::chrono::milliseconds grace) {
  if (process_ == nullptr) return 0;
  process_->stop(grace);
  return process_->exit_code();
}

void Program::kill() {
  if (process_ != nullptr) process_->kill();
}

void Program::pause() { process_->signal(SIGSTOP); }
void Program::resume() { process_->signal(SIGCONT); }

std::string Program::log_tail(size_t lines) const {
  std::ifstream in(options_.log_file);
  std::deque<std::string> kept;
  for (std::string line; std::getline(in, line);) {
    kept.push_back(line);
    if (kept.size() > lines) kept.pop_front();
  }
  std::string text;
  for (const std::string& line : kept) text += line + "\n";
  return text;
}

bool port_answers(int port) {
  const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const bool answers = ::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
  ::close(fd);
  return answers;
}

std::optional<std::string> http_get(int port, const std::string& path) {
  httplib::Client client("127.0.0.1", port);
  client.set_connection_timeout(1);
  client.set_read_timeout(2);
  const auto answer = client.Get(path.c_str());
  if (!answer || answer->status != 200) return std::nullopt;
  return answer->body;
}

std::string find_program(const std::string& name) {
  const char* path = std::getenv("PATH");
  std::stringstream folders((path == nullptr ? "" : path) + std::string(":/usr/sbin:/usr/local/bin"));
  for (std::string folder; std::getline(folders, folder, ':');) {
    const std::string file = folder + "/" + name;
    if (!folder.empty() && ::access(file.c_str(), X_OK) == 0) return file;
  }
  return "";
}

RedisServer::RedisServer(const std::string& folder, int port)
    : Program({.name = "redis-server",
               .argv = {"redis-server", "--port", std::to_string(port), "--bind", "127.0.0.1", "--dir", folder,
                        "--appendonly", "yes", "--save", "", "--client-output-buffer-limit", "pubsub 0 0 0"},
               .log_file = folder + "/log",
               .ready = [port] { return port_answers(port); }}),
      port_(port) {
  fs::create_directories(folder);
}

NatsServer::NatsServer(const std::string& folder, int port)
    : Program({.name = "nats-server",
               .argv = {"nats-server", "-a", "127.0.0.1", "-p", std::to_string(port), "-js", "-sd", folder + "/js"},
               .log_file = folder + "/log",
               .ready = [port] { return port_answers(port); }}),
      port_(port) {
  fs::create_directories(folder);
}

namespace {

constexpr const char* kPostgresUser = "postgres";

void run_to_end(const std::vector<std::string>& argv, const std::string& log) {
  Process process({.argv = argv, .log_file = log, .user = kPostgresUser});
  if (!process.wait(std::chrono::seconds(60)) || process.exit_code() != 0) {
    throw std::runtime_error(argv[0] + " failed:\n" + read_file(log));
  }
}

bool accepts_queries(const std::string& uri) {
  try {
    return pqxx::connection(uri).is_open();
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
  const std::string initdb = find_program("initdb");
  return initdb.empty() ? "" : fs::path(initdb).parent_path().string();
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
               .ready = [port] { return accepts_queries(local_uri(port, "postgres")); }}),
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

namespace {

// A broker started by ops/services, for the life of this program.
class OwnBroker {
 public:
  OwnBroker() : folder_("headgate-kafka") {
    std::ofstream(folder_.path() + "/.owner") << ::getpid() << ' ' << start_time() << '\n';
    run("start", {"--only", "kafka", "--no-fsync"});
    std::istringstream lines(read_file(folder_.path() + "/start.log"));
    for (std::string line; std::getline(lines, line);) {
      if (line.rfind("HEADGATE_KAFKA=", 0) == 0) address_ = line.substr(15);
    }
    address_.erase(std::remove(address_.begin(), address_.end(), '\''), address_.end());
    if (address_.empty()) reason_ = read_file(folder_.path() + "/kafka-unavailable");
  }
  ~OwnBroker() { run("stop", {}); }

  const std::string& address() const { return address_; }
  const std::string& reason() const { return reason_; }

 private:
  static std::string start_time() {
    std::istringstream words(read_file("/proc/self/stat"));
    std::string word;
    for (int i = 0; i < 22; ++i) words >> word;
    return word;
  }

  void run(const std::string& command, const std::vector<std::string>& more) {
    std::vector<std::string> argv = {HEADGATE_SOURCE_DIR "/ops/services/services", command, "--dir", folder_.path()};
    argv.insert(argv.end(), more.begin(), more.end());
    Process process({.argv = argv, .log_file = folder_.path() + "/" + command + ".log"});
    process.wait(std::chrono::seconds(120));
  }

  TempFolder folder_;
  std::string address_;
  std::string reason_;
};

}  // namespace

std::string kafka_brokers(std::string* reason) {
  if (const char* given = std::getenv("HEADGATE_TEST_KAFKA"); given != nullptr) {
    if (*given == '\0') *reason = "the test command could not start Kafka";
    return given;
  }
  static const OwnBroker broker;
  *reason = broker.reason().empty() ? "Kafka could not be started" : broker.reason();
  return broker.address();
}

}  // namespace headgate::testing
