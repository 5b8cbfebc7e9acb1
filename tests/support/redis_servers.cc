#include "tests/support/redis_servers.h"

#include <filesystem>
#include <set>
#include <stdexcept>

#include "base/redis/connection.h"
#include "tests/support/test_main.h"

namespace headgate::testing {
namespace {

using std::chrono::seconds;

constexpr int kMasters = 3;

std::vector<std::string> server_arguments(const std::string& folder, int port, std::vector<std::string> more) {
  std::vector<std::string> argv{
      "redis-server", "--port", std::to_string(port),         "--bind", "127.0.0.1", "--dir", folder, "--save", "",
      "--appendonly", "yes",    "--repl-diskless-sync-delay", "0"};
  argv.insert(argv.end(), more.begin(), more.end());
  return argv;
}

std::string text_of_all(const redisReply* reply) {
  if (reply->type == REDIS_REPLY_INTEGER) return std::to_string(reply->integer);
  if (reply->type != REDIS_REPLY_ARRAY) return std::string(redis::text_of(reply));
  std::string text;
  for (size_t i = 0; i < reply->elements; ++i) text += text_of_all(reply->element[i]) + "\n";
  return text;
}

redis::ClientSettings patient(redis::ClientSettings settings) {
  settings.connect_timeout = Duration(1'000);
  settings.command_timeout = Duration(3'000);
  return settings;
}

void must(bool holds, const std::string& what) {
  if (!holds) throw std::runtime_error("redis: " + what);
}

void openssl(const std::string& folder, const std::vector<std::string>& arguments) {
  std::vector<std::string> argv{"openssl"};
  argv.insert(argv.end(), arguments.begin(), arguments.end());
  Process process({.argv = argv, .log_file = folder + "/openssl.log"});
  must(process.wait(seconds(20)) && process.exit_code() == 0, "openssl fails: " + read_file(folder + "/openssl.log"));
}

void make_authority(const std::string& folder, const std::string& name) {
  openssl(folder,
          {"req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj",
           "/CN=" + name, "-keyout", folder + "/" + name + ".key", "-out", folder + "/" + name + ".pem"});
}

void make_certificate(const std::string& folder, const std::string& name) {
  const std::string path = folder + "/" + name;
  write_file(folder + "/names", "subjectAltName=DNS:redis.test,IP:127.0.0.1\n");
  openssl(folder, {"req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj",
                   "/CN=" + name, "-keyout", path + ".key", "-out", path + ".csr"});
  openssl(folder, {"x509", "-req", "-in", path + ".csr", "-CA", folder + "/ca.pem", "-CAkey", folder + "/ca.key",
                   "-CAcreateserial", "-days", "2", "-extfile", folder + "/names", "-out", path + ".pem"});
}

// By the master's word: what it writes before it has heard from a replica that has loaded everything waits in its
// buffer, and dies with it. The replica says "up" earlier than that.
bool is_followed(const RedisNode& master) {
  return master.command({"INFO", "replication"}).find("state=online") != std::string::npos;
}

}  // namespace

const char* redis_missing() {
  if (find_program("redis-server").empty()) return "no redis-server on this machine";
  return find_program("openssl").empty() ? "no openssl program to make certificates with" : nullptr;
}

RedisNode::RedisNode(const std::string& folder, std::vector<std::string> more_arguments)
    : RedisNode(folder, std::move(more_arguments), free_port()) {}

RedisNode::RedisNode(const std::string& folder, std::vector<std::string> more_arguments, int port)
    : Program({.name = "redis-server",
               .argv = server_arguments(folder, port, std::move(more_arguments)),
               .log_file = folder + "/log",
               .ready =
                   [port] {
                     redis::ClientSettings settings;
                     settings.port = static_cast<uint16_t>(port);
                     return redis::Client(settings).open({}).ok();
                   }}),
      port_(port) {
  std::filesystem::create_directories(folder);
}

std::string RedisNode::command(const std::vector<std::string_view>& words) const {
  redis::ClientSettings settings;
  settings.port = static_cast<uint16_t>(port_);
  const auto reply = redis::Client(settings).command("", words, {});
  must(reply.ok(), message_of(reply.status()));
  return text_of_all(reply->get());
}

RedisTls::RedisTls(std::vector<std::string> more_arguments) {
  used_server("redis behind TLS");
  make_authority(folder_.path(), "ca");
  make_certificate(folder_.path(), "server");
  make_certificate(folder_.path(), "client");
  std::vector<std::string> arguments{
      "--tls-port",     std::to_string(tls_port_), "--tls-cert-file",    file("server.pem"),
      "--tls-key-file", file("server.key"),        "--tls-ca-cert-file", file("ca.pem")};
  arguments.insert(arguments.end(), more_arguments.begin(), more_arguments.end());
  node_ = std::make_unique<RedisNode>(folder_.path() + "/node", arguments);
  node_->start();
}

redis::ClientSettings RedisTls::settings() const {
  redis::ClientSettings settings;
  settings.port = static_cast<uint16_t>(tls_port_);
  settings.tls = {true, file("ca.pem"), file("client.pem"), file("client.key"), ""};
  return patient(settings);
}

void RedisTls::make_other_authority() const { make_authority(folder_.path(), "other"); }

RedisSentinels::RedisSentinels() {
  used_server("redis behind sentinels");
  nodes_.push_back(std::make_unique<RedisNode>(folder_.path() + "/0", std::vector<std::string>{}));
  nodes_[0]->start();
  nodes_.push_back(std::make_unique<RedisNode>(
      folder_.path() + "/1",
      std::vector<std::string>{"--replicaof", "127.0.0.1 " + std::to_string(nodes_[0]->port())}));
  nodes_[1]->start();
  must(wait_until([&] { return is_followed(*nodes_[0]); }, seconds(20)), "the replica does not follow");
  for (int i = 0; i < 3; ++i) {
    const std::string folder = folder_.path() + "/sentinel" + std::to_string(i);
    std::filesystem::create_directories(folder);
    const int port = sentinel_ports_.emplace_back(free_port());
    const std::string monitor = "sentinel monitor " + master_name() + " 127.0.0.1 " + std::to_string(nodes_[0]->port());
    write_file(folder + "/conf", "port " + std::to_string(port) + "\nbind 127.0.0.1\ndir " + folder + "\n" + monitor +
                                     " 2\nsentinel down-after-milliseconds " + master_name() +
                                     " 800\nsentinel failover-timeout " + master_name() + " 3000\n");
    sentinels_.push_back(std::make_unique<Program>(Program::Options{
        .name = "redis-sentinel",
        .argv = {"redis-server", folder + "/conf", "--sentinel"},
        .log_file = folder + "/log",
        .ready = [folder] { return read_file(folder + "/log").find("+monitor master") != std::string::npos; }}));
    sentinels_.back()->start();
  }
  // A failover needs sentinels that know each other, and a replica that they know.
  const std::string log = folder_.path() + "/sentinel";
  const auto knows = [&](int i) {
    const std::string text = read_file(log + std::to_string(i) + "/log");
    size_t met = 0;
    for (size_t at = text.find("+sentinel "); at != std::string::npos; at = text.find("+sentinel ", at + 1)) ++met;
    return met >= 2 && text.find("+slave ") != std::string::npos;
  };
  must(wait_until([&] { return knows(0) && knows(1) && knows(2); }, seconds(20)), "the sentinels do not meet");
}

redis::ClientSettings RedisSentinels::settings() const {
  redis::ClientSettings settings;
  settings.mode = redis::Mode::kSentinel;
  for (const int port : sentinel_ports_) settings.addresses.push_back("127.0.0.1:" + std::to_string(port));
  settings.sentinel_master = master_name();
  return patient(settings);
}

RedisNode* RedisSentinels::master() {
  redis::Client client(settings());
  if (!client.open({}).ok()) return nullptr;
  for (const auto& node : nodes_) {
    if (node->address() == client.any()->address()) return node.get();
  }
  return nullptr;
}

void RedisSentinels::fail_over() {
  RedisNode* const before = master();
  must(before != nullptr, "there is no master");
  before->kill();
  const auto moved = [&] {
    const RedisNode* const now = master();
    return now != nullptr && now != before;
  };
  must(wait_until(moved, seconds(20)), "the sentinels choose nobody");
}

RedisCluster::RedisCluster() {
  used_server("redis cluster");
  std::vector<std::string> bus;
  for (int i = 0; i <= kMasters; ++i) {
    bus.push_back(std::to_string(free_port()));
    nodes_.push_back(
        std::make_unique<RedisNode>(folder_.path() + "/" + std::to_string(i),
                                    std::vector<std::string>{"--cluster-enabled", "yes", "--cluster-port", bus.back(),
                                                             "--cluster-node-timeout", "1500"}));
    nodes_.back()->launch();
  }
  for (const auto& node : nodes_) node->await_ready();
  for (int i = 0; i < kMasters; ++i) {
    const int first = static_cast<int>(redis::kSlots) * i / kMasters;
    const int last = static_cast<int>(redis::kSlots) * (i + 1) / kMasters - 1;
    nodes_[i]->command({"CLUSTER", "ADDSLOTSRANGE", std::to_string(first), std::to_string(last)});
    nodes_[i]->command({"CLUSTER", "SET-CONFIG-EPOCH", std::to_string(i + 1)});
  }
  for (size_t i = 1; i < nodes_.size(); ++i) {
    nodes_[0]->command({"CLUSTER", "MEET", "127.0.0.1", std::to_string(nodes_[i]->port()), bus[i]});
  }
  const auto whole = [&] {
    for (const auto& node : nodes_) {
      const std::string info = node->command({"CLUSTER", "INFO"});
      if (info.find("cluster_state:ok") == std::string::npos) return false;
      if (info.find("cluster_known_nodes:4") == std::string::npos) return false;
    }
    return true;
  };
  must(wait_until(whole, seconds(20)), "the cluster does not come together");
  nodes_[kMasters]->command({"CLUSTER", "REPLICATE", id(0)});
  const auto follows = [&] {
    return is_followed(*nodes_[0]) &&
           nodes_[kMasters]->command({"INFO", "replication"}).find("link_status:up") != std::string::npos;
  };
  must(wait_until(follows, seconds(20)), "the replica does not follow");
}

redis::ClientSettings RedisCluster::settings() const {
  redis::ClientSettings settings;
  settings.mode = redis::Mode::kCluster;
  settings.addresses = {nodes_[0]->text(), nodes_[1]->text(), nodes_[2]->text()};
  return patient(settings);
}

size_t RedisCluster::owner(uint16_t slot) {
  for (size_t i = 0; i < nodes_.size(); ++i) {
    if (!nodes_[i]->running()) continue;
    const std::string slots = nodes_[i]->command({"CLUSTER", "NODES"});
    const size_t self = slots.find("myself,master");
    if (self == std::string::npos) continue;
    std::string line = slots.substr(self, slots.find('\n', self) - self);
    line = line.substr(line.find("connected") + 9);
    for (size_t at = line.find_first_of("0123456789"); at != std::string::npos;) {
      char* rest = nullptr;
      const auto first = std::strtoul(line.c_str() + at, &rest, 10);
      auto last = first;
      if (*rest == '-') last = std::strtoul(rest + 1, &rest, 10);
      if (first <= slot && slot <= last) return i;
      const size_t blank = line.find(' ', static_cast<size_t>(rest - line.c_str()));
      if (blank == std::string::npos || line[blank + 1] == '[') break;
      at = blank + 1;
    }
  }
  throw std::runtime_error("nobody has the slot");
}

void RedisCluster::migrate(uint16_t slot, size_t to, const std::function<void()>& between) {
  // A node that has not heard of the last move's epoch would take this slot with one that is too low.
  const auto agree = [&] {
    std::set<std::string> views;
    for (const auto& node : nodes_) {
      const std::string info = node->command({"CLUSTER", "INFO"});
      const size_t at = info.find("cluster_current_epoch:");
      views.insert(info.substr(at, info.find('\r', at) - at));
    }
    return views.size() == 1;
  };
  must(wait_until(agree, seconds(10)), "the nodes do not agree");
  const size_t from = owner(slot);
  const std::string number = std::to_string(slot);
  nodes_[to]->command({"CLUSTER", "SETSLOT", number, "IMPORTING", id(from)});
  nodes_[from]->command({"CLUSTER", "SETSLOT", number, "MIGRATING", id(to)});
  const std::string port = std::to_string(nodes_[to]->port());
  while (true) {
    if (between) between();
    std::string key = nodes_[from]->command({"CLUSTER", "GETKEYSINSLOT", number, "1"});
    if (key.empty()) break;
    key.pop_back();
    nodes_[from]->command({"MIGRATE", "127.0.0.1", port, key, "0", "3000"});
  }
  const std::string owner_id = id(to);
  nodes_[to]->command({"CLUSTER", "SETSLOT", number, "NODE", owner_id});
  nodes_[from]->command({"CLUSTER", "SETSLOT", number, "NODE", owner_id});
}

void RedisCluster::fail_over() {
  nodes_[0]->kill();
  const std::string port = std::to_string(nodes_[kMasters]->port());
  const auto moved = [&] {
    for (size_t i = 1; i < nodes_.size(); ++i) {
      redis::ClientSettings one;
      one.port = static_cast<uint16_t>(nodes_[i]->port());
      redis::Client client(one);
      const auto reply = client.command("", std::vector<std::string_view>{"CLUSTER", "INFO"}, {});
      if (!reply.ok() || redis::text_of(reply->get()).find("cluster_state:ok") == std::string_view::npos) return false;
    }
    return nodes_[kMasters]->command({"ROLE"}).rfind("master", 0) == 0;
  };
  must(wait_until(moved, seconds(30)), "the replica does not take over");
}

void RedisCluster::flush() {
  for (const auto& node : nodes_) {
    if (node->running() && node->command({"ROLE"}).rfind("master", 0) == 0) node->command({"FLUSHALL"});
  }
}

}  // namespace headgate::testing
