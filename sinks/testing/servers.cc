#include "sinks/testing/servers.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <sstream>
#include <stdexcept>

#include "tests/support/kafka_acls.h"
#include "tests/support/test_main.h"

namespace headgate::sinks {
namespace {

namespace fs = std::filesystem;
using std::chrono::seconds;
using testing::Process;
using testing::TempFolder;

bool in_path(const std::string& program) {
  const char* path = std::getenv("PATH");
  std::stringstream folders(path == nullptr ? "" : path);
  for (std::string folder; std::getline(folders, folder, ':');) {
    if (::access((folder + "/" + program).c_str(), X_OK) == 0) return true;
  }
  return false;
}

bool port_answers(int port) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const bool answers = ::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0;
  ::close(fd);
  return answers;
}

std::string run_for_output(const std::vector<std::string>& argv, const std::string& log) {
  Process process({.argv = argv, .log_file = log});
  process.wait(seconds(300));
  return testing::read_file(log);
}

fs::path kafka_libs() {
  const char* cache = std::getenv("XDG_CACHE_HOME");
  const char* home = std::getenv("HOME");
  const fs::path root = cache != nullptr ? fs::path(cache) : fs::path(home == nullptr ? "/tmp" : home) / ".cache";
  return root / "headgate" / "kafka" / "libs";
}

// The same steps as `ops/dev services`, so that both share one cache.
void fetch_kafka(const std::string& folder) {
  const std::string services = HEADGATE_SOURCE_DIR "/ops/services";
  const std::string script = "SERVICES_HOME=" + services + "; . " + services + "/lib.sh; . " + services +
                             "/kafka.sh; kafka_fetch_jars \"$SERVICES_HOME/kafka/pom.xml\" \"$(kafka_cache)\"";
  run_for_output({"bash", "-c", script}, folder + "/fetch.log");
}

std::string kafka_properties(const std::string& folder, int port, int controller) {
  return fmt::format(
      "process.roles=broker,controller\nnode.id=1\ncontroller.quorum.voters=1@127.0.0.1:{1}\n"
      "listeners=PLAINTEXT://127.0.0.1:{0},CONTROLLER://127.0.0.1:{1}\n"
      "advertised.listeners=PLAINTEXT://127.0.0.1:{0}\ncontroller.listener.names=CONTROLLER\n"
      "inter.broker.listener.name=PLAINTEXT\n"
      "listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT\nlog.dirs={2}/data\n"
      "offsets.topic.replication.factor=1\noffsets.topic.num.partitions=1\n"
      "transaction.state.log.replication.factor=1\ntransaction.state.log.min.isr=1\n"
      "transaction.state.log.num.partitions=1\ngroup.initial.rebalance.delay.ms=0\n"
      "auto.create.topics.enable=false\nnum.io.threads=2\nnum.network.threads=2\nlog.cleaner.dedupe.buffer.size="
      "8388608\n",
      port, controller, folder);
}

}  // namespace

TestServer::TestServer(std::unique_ptr<TempFolder> folder, int port, Options options)
    : folder_(std::move(folder)), port_(port), options_(std::move(options)) {
  start();
}

TestServer::~TestServer() {
  if (process_ != nullptr) process_->kill();
}

void TestServer::start() {
  process_ = std::make_unique<Process>(Process::Options{.argv = options_.argv, .log_file = options_.log_file});
  const auto up = [this] { return !process_->running() || options_.ready(); };
  if (testing::wait_until(up, seconds(60)) && process_->running()) return;
  const std::string log = testing::read_file(options_.log_file);
  throw std::runtime_error(options_.name + " does not start; its log ends with:\n" +
                           log.substr(log.size() - std::min<size_t>(log.size(), 4000)));
}

void TestServer::pause() {
  process_->signal(SIGSTOP);
  // Its threads stop one after the other, a moment later.
  const std::string status = "/proc/" + std::to_string(process_->pid()) + "/status";
  testing::wait_until([&] { return testing::read_file(status).find("State:\tT") != std::string::npos; });
}

void TestServer::resume() { process_->signal(SIGCONT); }

std::unique_ptr<TestServer> start_redis(std::string* reason, const std::vector<std::string>& more_arguments) {
  if (!in_path("redis-server")) {
    *reason = "no redis-server on this machine";
    return nullptr;
  }
  auto folder = std::make_unique<TempFolder>("headgate-redis");
  const int port = testing::free_port();
  std::vector<std::string> argv = {"redis-server",
                                   "--port",
                                   std::to_string(port),
                                   "--bind",
                                   "127.0.0.1",
                                   "--dir",
                                   folder->path(),
                                   "--appendonly",
                                   "yes",
                                   "--save",
                                   ""};
  argv.insert(argv.end(), more_arguments.begin(), more_arguments.end());
  testing::used_server(run_for_output({"redis-server", "--version"}, folder->path() + "/version").substr(0, 28));
  const std::string log = folder->path() + "/log";
  const auto ready = [port, log] {
    return port_answers(port) && testing::read_file(log).find("Ready to accept") != std::string::npos;
  };
  return std::make_unique<TestServer>(std::move(folder), port, TestServer::Options{"redis-server", argv, log, ready});
}

std::unique_ptr<TestServer> start_nats(std::string* reason, const std::string& config) {
  if (!in_path("nats-server")) {
    *reason = "no nats-server on this machine";
    return nullptr;
  }
  auto folder = std::make_unique<TempFolder>("headgate-nats");
  const int port = testing::free_port();
  std::vector<std::string> argv = {"nats-server",        "-a",  "127.0.0.1", "-p",
                                   std::to_string(port), "-js", "-sd",       folder->path() + "/js"};
  if (!config.empty()) {
    testing::write_file(folder->path() + "/nats.conf", config);
    argv.insert(argv.end(), {"-c", folder->path() + "/nats.conf"});
  }
  const std::string version = run_for_output({"nats-server", "--version"}, folder->path() + "/version");
  testing::used_server(version.substr(0, version.find('\n')));
  const std::string log = folder->path() + "/log";
  return std::make_unique<TestServer>(
      std::move(folder), port, TestServer::Options{"nats-server", argv, log, [port] { return port_answers(port); }});
}

std::string kafka_class_path(std::string* reason) {
  if (!in_path("java")) {
    *reason = "no Java on this machine";
    return "";
  }
  const TempFolder folder("headgate-kafka");
  if (!fs::exists(kafka_libs())) fetch_kafka(folder.path());
  if (!fs::exists(kafka_libs())) {
    *reason = "Kafka's jars cannot be fetched with Maven";
    return "";
  }
  return kafka_libs().string() + "/*";
}

namespace {

std::unique_ptr<TestServer> start_broker(std::string* reason, int sasl_port) {
  const std::string jars = kafka_class_path(reason);
  if (jars.empty()) return nullptr;
  auto folder = std::make_unique<TempFolder>("headgate-kafka");
  const int port = testing::free_port();
  const int controller = testing::free_port();
  const std::string properties = folder->path() + "/server.properties";
  std::string text = kafka_properties(folder->path(), port, controller);
  if (sasl_port != 0) {
    const std::string client = "PLAINTEXT://127.0.0.1:" + std::to_string(port);
    // Of a key that is there twice the last counts.
    text += testing::acl_properties(client + ",CONTROLLER://127.0.0.1:" + std::to_string(controller), client,
                                    "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT", sasl_port);
  }
  testing::write_file(properties, text);
  run_for_output({"java", "-XX:TieredStopAtLevel=1", "-cp", jars, "kafka.tools.StorageTool", "format", "-t",
                  "Kheadgatetestcluster1A", "-c", properties},
                 folder->path() + "/format.log");
  const std::string log = folder->path() + "/log";
  const std::vector<std::string> argv = {
      "java", "-Xms96m", "-Xmx256m",    "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
      "-cp",  jars,      "kafka.Kafka", properties};
  const auto ready = [port, log] {
    return port_answers(port) && testing::read_file(log).find("Kafka Server started") != std::string::npos;
  };
  testing::used_server("kafka 3.9.1");
  return std::make_unique<TestServer>(std::move(folder), port, TestServer::Options{"kafka", argv, log, ready});
}

}  // namespace

std::unique_ptr<TestServer> start_kafka(std::string* reason) { return start_broker(reason, 0); }

KafkaWithAcls start_kafka_with_acls(std::string* reason) {
  const int port = testing::free_port();
  return {start_broker(reason, port), port};
}

}  // namespace headgate::sinks
