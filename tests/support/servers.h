// Real servers and programs that a test may stop, kill, pause and start again at the same address with the same data.
//
// Everything runs below the folder that the caller gives and ends with the objects (or with this process, whatever
// happens). Not thread-safe. start() throws std::runtime_error with the end of the log when a server does not come up.
#pragma once

#include <optional>
#include <string>

#include "tests/support/postgres_server.h"
#include "tests/support/program.h"

namespace headgate::testing {

// True when something accepts TCP connections at the loopback port.
bool port_answers(int port);
// The body of GET http://127.0.0.1:port/path; nothing when it failed or the status was not 200.
std::optional<std::string> http_get(int port, const std::string& path);

// With append-only file, so that its data survives stop() and kill(), and with patience for slow subscribers.
class RedisServer : public Program {
 public:
  explicit RedisServer(const std::string& folder, int port = free_port());
  std::string address() const { return "127.0.0.1:" + std::to_string(port_); }
  int port() const { return port_; }

 private:
  int port_;
};

// With JetStream in the folder.
class NatsServer : public Program {
 public:
  explicit NatsServer(const std::string& folder, int port = free_port());
  std::string address() const { return "127.0.0.1:" + std::to_string(port_); }
  int port() const { return port_; }

 private:
  int port_;
};

// The broker of HEADGATE_TEST_KAFKA, or one that `ops/dev services` starts once for this program. Empty, and `reason`
// says why, when there is none to be had.
std::string kafka_brokers(std::string* reason);

}  // namespace headgate::testing
