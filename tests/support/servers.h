// Real servers and programs that a test may stop, kill, pause and start again at the same address with the same data.
//
// Everything runs below the folder that the caller gives and ends with the objects (or with this process, whatever
// happens). Not thread-safe. start() throws std::runtime_error with the end of the log when a server does not come up.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tests/support/process.h"

namespace headgate::testing {

// One program with its command line, log file and a question that tells when it serves.
class Program {
 public:
  struct Options {
    std::string name;
    std::vector<std::string> argv;
    std::map<std::string, std::string> env{};
    std::string log_file;
    std::string user{};
    std::function<bool()> ready;
    std::chrono::milliseconds start_timeout{30'000};
  };

  explicit Program(Options options) : options_(std::move(options)) {}

  const std::string& name() const { return options_.name; }
  const std::string& log_file() const { return options_.log_file; }
  std::vector<std::string>& argv() { return options_.argv; }
  bool running() { return process_ != nullptr && process_->running(); }
  pid_t pid() const { return process_ == nullptr ? -1 : process_->pid(); }

  // Returns when it is ready.
  void start();
  // Returns at once.
  void launch();
  // After launch(): returns when it is ready.
  void await_ready();
  // SIGTERM; returns the exit code, or -SIGKILL when it had to be killed after `grace`.
  int stop(std::chrono::milliseconds grace = std::chrono::milliseconds(20'000));
  void kill();
  void pause();
  void resume();
  size_t resident_bytes() const { return process_ == nullptr ? 0 : process_->resident_bytes(); }
  // Last lines of the log.
  std::string log_tail(size_t lines = 60) const;

 private:
  Options options_;
  std::unique_ptr<Process> process_;
};

// True when something accepts TCP connections at the loopback port.
bool port_answers(int port);
// The body of GET http://127.0.0.1:port/path; nothing when it failed or the status was not 200.
std::optional<std::string> http_get(int port, const std::string& path);

// Empty when the program is not in PATH.
std::string find_program(const std::string& name);

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

// A cluster of its own, for tests that need settings of the server, or a standby.
class PostgresServer : public Program {
 public:
  // `settings` as for -c. fsync is off unless they say otherwise. Runs initdb; does not start.
  PostgresServer(const std::string& folder, const std::vector<std::string>& settings);
  // A streaming standby of a running server, by pg_basebackup. Does not start.
  static std::unique_ptr<PostgresServer> standby_of(const PostgresServer& primary, const std::string& folder);

  std::string uri(const std::string& database = "postgres") const;
  // Ends recovery: this server becomes a primary of its own history. Waits for it.
  void promote();

 private:
  PostgresServer(const std::string& folder, const std::vector<std::string>& settings, int port);
  static std::string data_folder(const std::string& folder);

  std::string folder_;
  std::vector<std::string> settings_;
  int port_;
};
// The folder of initdb and pg_ctl, empty when PostgreSQL is not installed.
std::string postgres_binaries();

// The broker of HEADGATE_TEST_KAFKA, or one that `ops/dev services` starts once for this program. Empty, and `reason`
// says why, when there is none to be had.
std::string kafka_brokers(std::string* reason);

}  // namespace headgate::testing
