#include "tests/support/kafka_server.h"

#include <fmt/format.h>

#include <cstdlib>
#include <filesystem>

#include "tests/support/kafka_acls.h"

namespace headgate::testing {

namespace fs = std::filesystem;

namespace {

fs::path jars_folder() {
  const char* cache = std::getenv("XDG_CACHE_HOME");
  const char* home = std::getenv("HOME");
  const fs::path root = cache != nullptr ? fs::path(cache) : fs::path(home == nullptr ? "/tmp" : home) / ".cache";
  return root / "headgate" / "kafka" / "libs";
}

void run(const std::vector<std::string>& argv, const std::string& log) {
  Process process({.argv = argv, .log_file = log});
  process.wait(std::chrono::seconds(300));
}

// By the steps of `ops/dev services`, so that both share one cache.
void fetch_jars(const std::string& folder) {
  const std::string services = HEADGATE_SOURCE_DIR "/ops/services";
  const std::string script = "SERVICES_HOME=" + services + "; . " + services + "/lib.sh; . " + services +
                             "/kafka.sh; kafka_fetch_jars \"$SERVICES_HOME/kafka/pom.xml\" \"$(kafka_cache)\"";
  run({"bash", "-c", script}, folder + "/fetch.log");
}

std::string properties(const std::string& folder, int client, int proxied, int controller, int advertised) {
  return fmt::format(
      "process.roles=broker,controller\nnode.id=1\ncontroller.quorum.voters=1@127.0.0.1:{2}\n"
      "listeners=PLAINTEXT://127.0.0.1:{0},PROXIED://127.0.0.1:{1},CONTROLLER://127.0.0.1:{2}\n"
      "advertised.listeners=PLAINTEXT://127.0.0.1:{0},PROXIED://127.0.0.1:{3}\n"
      "controller.listener.names=CONTROLLER\ninter.broker.listener.name=PLAINTEXT\n"
      "listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT\n"
      "log.dirs={4}/data\noffsets.topic.replication.factor=1\noffsets.topic.num.partitions=1\n"
      "transaction.state.log.replication.factor=1\ntransaction.state.log.min.isr=1\n"
      "transaction.state.log.num.partitions=1\ngroup.initial.rebalance.delay.ms=0\n"
      "num.io.threads=2\nnum.network.threads=2\nlog.cleaner.dedupe.buffer.size=8388608\n",
      client, proxied, controller, advertised, folder);
}

}  // namespace

KafkaServer::KafkaServer(const std::string& folder, const std::string& jars, const Ports& ports)
    : Program(
          {.name = "kafka",
           .argv = {"java", "-Xms96m", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", jars,
                    "kafka.Kafka", folder + "/server.properties"},
           .log_file = folder + "/log",
           .ready = [port = ports.client, other = ports.proxied] { return port_answers(port) && port_answers(other); },
           .start_timeout = std::chrono::seconds(120)}),
      folder_(folder),
      port_(ports.client),
      proxied_port_(ports.proxied),
      controller_port_(ports.controller) {
  advertise(proxied_port_);
}

void KafkaServer::write_properties() const {
  std::string text = properties(folder_, port_, proxied_port_, controller_port_, advertised_port_);
  if (users_port_ != 0) {
    const auto listeners = [&](int proxied) {
      return fmt::format("PLAINTEXT://127.0.0.1:{},PROXIED://127.0.0.1:{}", port_, proxied);
    };
    // Of a key that is there twice the last counts.
    text += acl_properties(fmt::format("{},CONTROLLER://127.0.0.1:{}", listeners(proxied_port_), controller_port_),
                           listeners(advertised_port_), "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT",
                           users_port_);
  }
  write_file(folder_ + "/server.properties", text);
}

void KafkaServer::advertise(int proxy_port) {
  advertised_port_ = proxy_port;
  write_properties();
}

std::string KafkaServer::listen_for_users() {
  users_port_ = free_port();
  write_properties();
  return "127.0.0.1:" + std::to_string(users_port_);
}

std::unique_ptr<KafkaServer> KafkaServer::make(const std::string& folder, std::string* reason) {
  fs::create_directories(folder);
  if (find_program("java").empty()) {
    *reason = "no Java on this machine";
    return nullptr;
  }
  if (!fs::exists(jars_folder())) fetch_jars(folder);
  if (!fs::exists(jars_folder())) {
    *reason = "Kafka's jars cannot be fetched with Maven";
    return nullptr;
  }
  const std::string jars = jars_folder().string() + "/*";
  std::unique_ptr<KafkaServer> server(new KafkaServer(folder, jars, {free_port(), free_port(), free_port()}));
  run({"java", "-XX:TieredStopAtLevel=1", "-cp", jars, "kafka.tools.StorageTool", "format", "-t",
       "Kheadgatetestcluster1A", "-c", folder + "/server.properties"},
      folder + "/format.log");
  return server;
}

}  // namespace headgate::testing
