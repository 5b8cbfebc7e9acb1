#include "tests/robustness/pressure.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <sys/socket.h>
#include <unistd.h>

#include <condition_variable>
#include <fstream>
#include <mutex>
#include <pqxx/pqxx>
#include <random>
#include <sstream>

namespace headgate::testing {

namespace {

constexpr int kTransactionsAtOnce = 20;

std::string noise(size_t bytes, std::mt19937_64& random) {
  constexpr char kAlphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
  std::string text(bytes, ' ');
  for (char& c : text) c = kAlphabet[random() % 64];
  return text;
}

std::string one_transaction(const Flood& flood, int number, std::mt19937_64& random) {
  return fmt::format(
      "BEGIN ISOLATION LEVEL SERIALIZABLE; INSERT INTO transactions (tenant_id) VALUES ('{0}');"
      "INSERT INTO attributes (entity_type, entity_id, attribute, value, created_tx_id, tenant_id) VALUES ('doc', "
      "'{1}{2}', 'note', '{{\"@type\": \"type.googleapis.com/base.v1.StringValue\", \"data\": \"{3}\"}}', "
      "pg_current_xact_id(), '{0}'); COMMIT;",
      flood.tenant, flood.prefix, number, noise(flood.bytes, random));
}

}  // namespace

void flood(const std::string& database_uri, const Flood& flood) {
  pqxx::connection connection(database_uri);
  std::mt19937_64 random(7);
  for (int i = 0; i < flood.transactions;) {
    std::string sql;
    for (int n = 0; n < kTransactionsAtOnce && i < flood.transactions; ++n) sql += one_transaction(flood, i++, random);
    pqxx::nontransaction(connection).exec(sql);
  }
}

size_t resident_bytes(pid_t pid) {
  std::ifstream statm("/proc/" + std::to_string(pid) + "/statm");
  size_t total = 0, resident = 0;
  statm >> total >> resident;
  return resident * static_cast<size_t>(::sysconf(_SC_PAGESIZE));
}

MemoryPeak::MemoryPeak(pid_t pid) : bytes_(resident_bytes(pid)) {
  thread_ = std::jthread([this, pid](std::stop_token stop) {
    std::mutex mutex;
    std::condition_variable_any never;
    std::unique_lock lock(mutex);
    while (!stop.stop_requested()) {
      bytes_ = std::max(bytes_.load(), resident_bytes(pid));
      never.wait_for(lock, stop, std::chrono::milliseconds(5), [] { return false; });
    }
  });
}

nlohmann::json sink_status(const RelayProgram& relay, const std::string& sink) {
  const auto page = nlohmann::json::parse(relay.status());
  for (const auto& line : page["sinks"]) {
    if (line["name"] == sink) return line;
  }
  return {};
}

std::map<std::string, nlohmann::json> tenant_status(const RelayProgram& relay, const std::string& tenant) {
  std::map<std::string, nlohmann::json> lines;
  const auto page = http_get(relay.admin_port(), "/status?tenant=" + tenant);
  if (!page) return lines;
  const auto parsed = nlohmann::json::parse(*page);
  for (const auto& line : parsed["tenants"]) lines[line["sink"].get<std::string>()] = line;
  return lines;
}

double metric(int admin_port, const std::string& series) {
  std::istringstream lines(http_get(admin_port, "/metrics").value_or(""));
  for (std::string line; std::getline(lines, line);) {
    if (line.rfind(series + " ", 0) == 0) return std::strtod(line.c_str() + series.size(), nullptr);
  }
  return 0;
}

std::unique_ptr<RelayProgram> make_relay(World& world, const std::string& name, const std::vector<SinkText>& sinks,
                                         const std::string& more) {
  std::string yaml = "upstream:\n  address: " + world.engine().address() + "\n";
  if (more.find("tenants:") == std::string::npos) yaml += "tenants:\n  start: earliest\n";
  if (more.find("tokens:") == std::string::npos) {
    yaml += "tokens:\n  kind: sqlite\n  sqlite:\n    path: " + world.folder() + "/" + name + ".db\n";
  }
  yaml += "sinks:\n";
  for (const SinkText& sink : sinks) {
    yaml += "  - name: " + sink.name + "\n    kind: " + sink.kind + "\n";
    std::istringstream lines(sink.lines);
    for (std::string line; std::getline(lines, line);) yaml += "    " + line + "\n";
  }
  return std::make_unique<RelayProgram>(world.folder(), name, yaml + more);
}

std::string redis_command(const RedisServer& server, const std::string& command) {
  const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(server.port()));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  std::string answer;
  const std::string line = command + "\r\n";
  if (::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0 &&
      ::send(fd, line.data(), line.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(line.size())) {
    char byte = 0;
    while (::recv(fd, &byte, 1, 0) == 1 && byte != '\r') answer += byte;
  }
  ::close(fd);
  return answer;
}

}  // namespace headgate::testing
