// What headgate-engine and headgate-relay are alike in as programs: command line, settings, port file, log, exit code.
//
//   int main(int argc, char** argv) {
//     EngineProgram program;
//     return headgate::run_program(program, argc, argv);
//   }
#pragma once

#include <functional>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/settings_changes.h"
#include "base/status.h"

namespace headgate {

// As configure_logging() takes them.
struct LogSettings {
  std::string level = "info";
  std::string format = "text";
};

// Name of a port, for example "grpc", and its number; 0 while nothing is accepted there.
using BoundPorts = std::vector<std::pair<std::string, int>>;

// All calls come from the thread of main.
class Program {
 public:
  struct Text {
    std::string name;  // of the executable
    std::string version;
    std::string commit;
    std::string purpose;  // in a few words
    std::string env_prefix;
    std::string port_file_help;
  };

  explicit Program(Text text) : text_(std::move(text)) {}
  virtual ~Program() = default;
  const Text& text() const { return text_; }
  // A Markdown table of all settings.
  virtual std::string reference() const = 0;
  // `file` may be empty. INVALID_ARGUMENT with one fault a line.
  virtual Status load(const std::string& file, std::vector<std::string>& warnings) = 0;
  // The settings in force, without secrets.
  virtual std::string print() const = 0;
  // What somebody else may run in PostgreSQL beforehand, for a role that may create nothing there.
  virtual std::string print_sql() const = 0;
  virtual const LogSettings& log() const = 0;
  // How long run() may take to return once `stop` is requested. Then the process ends all the same: base/last_resort.h.
  virtual Duration stop_limit() const = 0;
  // SIGHUP: reads the settings again and takes over what can change while run() is under way, from another thread.
  // With an error everything stays as it was. Answers what was taken over, and what needs a new start.
  virtual StatusOr<SettingsChanges> reload(const std::string& file, std::vector<std::string>& warnings) = 0;
  // Blocks until `stop` is requested and everything has ended. `on_ports` is called whenever a port was bound.
  virtual Status run(std::stop_token stop, const std::function<void(const BoundPorts&)>& on_ports) = 0;

 private:
  const Text text_;
};

// What a process ends with. A second SIGTERM or SIGINT ends it at once, with 128 + the signal's number.
enum ExitCode {
  kExitDone = 0,
  kExitFailed = 1,    // could not start, or an error that no new attempt can cure; the log says which
  kExitSettings = 2,  // settings that cannot be used; also with --check-config
  kExitStuck = 3,     // told to stop, and a thread did not end in time
  kExitNoMemory = 4,  // no more memory or threads; the log says which limit. A new start goes on
  kExitUsage = 64,    // a command line that cannot be read
};

// To be called first thing in main. Returns one of ExitCode.
int run_program(Program& program, int argc, char** argv);

}  // namespace headgate
