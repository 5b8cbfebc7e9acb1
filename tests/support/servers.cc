#include "tests/support/servers.h"

#include <arpa/inet.h>
#include <httplib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "tests/support/test_main.h"

namespace headgate::testing {

namespace fs = std::filesystem;

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
