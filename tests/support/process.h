// Real programs in tests: started with a log file, killed with the test program whatever happens.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <csignal>
#include <map>
#include <string>
#include <vector>

#include "tests/support/free_port.h"

namespace headgate::testing {

// A folder under the system's temporary folder, removed with the object.
class TempFolder {
 public:
  explicit TempFolder(const std::string& name = "headgate");
  ~TempFolder();
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// A child process. The kernel kills it when this process dies (PR_SET_PDEATHSIG), the destructor when it still runs.
class Process {
 public:
  struct Options {
    std::vector<std::string> argv;             // argv[0] is looked up in PATH
    std::map<std::string, std::string> env{};  // added to ours
    std::string log_file{};                    // standard output and error; empty: /dev/null
    std::string user{};                        // run as this user when we are root
  };

  explicit Process(const Options& options);
  ~Process();
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  pid_t pid() const { return pid_; }
  bool running();
  void signal(int number);
  // True when it ended within `timeout`; exit_code() tells how: the code, or -signal.
  bool wait(std::chrono::milliseconds timeout);
  int exit_code() const { return exit_code_; }
  // SIGTERM, then SIGKILL after `grace`.
  void stop(std::chrono::milliseconds grace = std::chrono::milliseconds(10'000));
  void kill();
  // Resident memory in bytes, from /proc; 0 when it has ended.
  size_t resident_bytes() const;

 private:
  bool reap(bool block);

  pid_t pid_ = -1;
  bool ended_ = false;
  int exit_code_ = 0;
};

// Whether resident memory keeps its bound. Always so under AddressSanitizer, which holds back freed memory on purpose.
bool memory_below(size_t bytes, size_t bound);

// The whole file as text; empty when it is not there.
std::string read_file(const std::string& path);
void write_file(const std::string& path, const std::string& text);

}  // namespace headgate::testing
