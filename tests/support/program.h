// One program that a test may stop, kill, pause and start again at the same address with the same data.
//
// It ends with the object (or with this process, whatever happens). Not thread-safe.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "tests/support/process.h"

namespace headgate::testing {

// With its command line, log file and a question that tells when it serves. start() throws std::runtime_error with the
// end of the log when the program does not come up.
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
  void signal(int number);
  // True when it ended within `timeout`.
  bool wait(std::chrono::milliseconds timeout);
  // Of a program that has ended by itself: the code, or -signal.
  int exit_code() const { return process_ == nullptr ? 0 : process_->exit_code(); }
  void pause();
  void resume();
  size_t resident_bytes() const { return process_ == nullptr ? 0 : process_->resident_bytes(); }
  // Last lines of the log.
  std::string log_tail(size_t lines = 60) const;

 private:
  Options options_;
  std::unique_ptr<Process> process_;
};

// Empty when the program is not in PATH.
std::string find_program(const std::string& name);

}  // namespace headgate::testing
