// Redis as it is run in earnest: behind TLS, behind Sentinel, as a cluster. All on free ports of the loopback, below
// the folder of the object, and gone with it.
//
// Constructors return when everything serves, and throw std::runtime_error when it does not. Not thread-safe, except
// that servers may be killed while clients use them.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/redis/client.h"
#include "tests/support/process.h"
#include "tests/support/program.h"

namespace headgate::testing {

// Why there can be no Redis here; nullptr when there can.
const char* redis_missing();

// One server; keeps its data (append-only file) and its address over kill() and start().
class RedisNode : public Program {
 public:
  RedisNode(const std::string& folder, std::vector<std::string> more_arguments);
  int port() const { return port_; }
  redis::Address address() const { return {"127.0.0.1", static_cast<uint16_t>(port_)}; }
  std::string text() const { return redis::text_of(address()); }
  // The reply as text, elements of a list one a line. Throws on an error.
  std::string command(const std::vector<std::string_view>& words) const;

 private:
  RedisNode(const std::string& folder, std::vector<std::string> more_arguments, int port);
  int port_;
};

// A server that speaks TLS at one port and plain text at another, an authority, and a client's certificate.
class RedisTls {
 public:
  // `more_arguments` of the server, e.g. "--tls-auth-clients", "no".
  explicit RedisTls(std::vector<std::string> more_arguments = {});
  redis::ClientSettings settings() const;  // all that is needed
  RedisNode& node() { return *node_; }
  std::string file(const std::string& name) const { return folder_.path() + "/" + name; }
  // An authority that has signed nothing: other.pem.
  void make_other_authority() const;

 private:
  TempFolder folder_{"headgate-redis-tls"};
  int tls_port_ = free_port();
  std::unique_ptr<RedisNode> node_;
};

// A master, a replica and three sentinels.
class RedisSentinels {
 public:
  RedisSentinels();
  redis::ClientSettings settings() const;
  std::string master_name() const { return "relay-master"; }
  // Who is it, by the sentinels and by itself? nullptr while nobody is.
  RedisNode* master();
  // Kills the master and returns when the other one has its place.
  void fail_over();
  Program& sentinel(size_t index) { return *sentinels_[index]; }

 private:
  TempFolder folder_{"headgate-redis-sentinel"};
  std::vector<std::unique_ptr<RedisNode>> nodes_;
  std::vector<std::unique_ptr<Program>> sentinels_;
  std::vector<int> sentinel_ports_;
};

// Three masters with a third of the slots each, and a replica of the first.
class RedisCluster {
 public:
  RedisCluster();
  redis::ClientSettings settings() const;
  RedisNode& node(size_t index) { return *nodes_[index]; }
  // The master that has the slot, by its own word.
  size_t owner(uint16_t slot);
  // Moves a slot with its keys, a few at a time, calling `between` after each step.
  void migrate(uint16_t slot, size_t to, const std::function<void()>& between = {});
  // Kills the first master and returns when its replica serves its slots and all know it.
  void fail_over();
  void flush();

 private:
  std::string id(size_t index) const { return nodes_[index]->command({"CLUSTER", "MYID"}); }

  TempFolder folder_{"headgate-redis-cluster"};
  std::vector<std::unique_ptr<RedisNode>> nodes_;
};

}  // namespace headgate::testing
