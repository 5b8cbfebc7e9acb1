#include "base/program.h"

#include <absl/synchronization/mutex.h>
#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <fstream>

#include "base/last_resort.h"
#include "base/log.h"
#include "base/out_of_memory.h"
#include "base/signals.h"

// Read by jemalloc when a program starts, ahead of the variable MALLOC_CONF. Its own choice of arenas goes by the
// machine's cores, whatever share of them a container has; and without a thread of its own it returns memory only while
// the program allocates.
extern "C" {
const char* malloc_conf = "narenas:8,background_thread:true,dirty_decay_ms:2000,muzzy_decay_ms:0";
}

namespace headgate {
namespace {

struct Flags {
  std::string config_file;
  std::string port_file;
  bool check = false;
  bool print = false;
  bool reference = false;
  bool sql = false;
};

void add_options(CLI::App& cli, const Program::Text& text, Flags& flags) {
  cli.set_version_flag("--version", fmt::format("{} {} ({})", text.name, text.version, text.commit));
  cli.add_option("-c,--config", flags.config_file,
                 fmt::format("YAML file with settings; {}_* variables win over it", text.env_prefix));
  cli.add_option("--port-file", flags.port_file, text.port_file_help);
  cli.add_flag("--check-config", flags.check, "check the settings and leave");
  cli.add_flag("--print-config", flags.print, "print the settings in force, without secrets, and leave");
  cli.add_flag("--print-sql", flags.sql,
               "print what a database administrator may run in PostgreSQL beforehand, and leave");
  cli.add_flag("--settings", flags.reference, "print a table of all settings and leave");
}

// Appears complete or not at all, so that whoever waits for it can read it at once.
void write_ports(const std::string& path, const BoundPorts& ports) {
  if (path.empty()) return;
  const std::string part = path + ".part";
  {
    std::ofstream file(part);
    for (const auto& [name, port] : ports) file << name << '=' << port << '\n';
  }
  std::filesystem::rename(part, path);
}

void reload(Program& program, const std::string& file) {
  std::vector<std::string> warnings;
  const StatusOr<SettingsChanges> changes = program.reload(file, warnings);
  for (const std::string& warning : warnings) log_warn("config", {{"warning", warning}});
  if (!changes.ok()) {
    log_error("reload_refused",
              {{"error", message_of(changes.status())}, {"help", "the settings in force stay as they are"}});
    return;
  }
  for (const std::string& setting : changes->restart) {
    log_warn("needs_restart", {{"setting", setting}, {"why", "it has changed, and cannot while the program runs"}});
  }
  log_info("reloaded",
           {{"taken", changes->taken.empty() ? "nothing" : fmt::format("{}", fmt::join(changes->taken, " "))},
            {"need_restart", changes->restart.size()}});
}

int serve(Program& program, const Flags& flags, const std::vector<std::string>& warnings) {
  configure_logging(program.log().level, program.log().format);
  for (const std::string& warning : warnings) log_warn("config", {{"warning", warning}});
  end_without_memory(kExitNoMemory);
  SignalStop signals([&] { reload(program, flags.config_file); });
  const LastResort last_resort(signals.token(), program.stop_limit(), kExitStuck);
  const Status status =
      program.run(signals.token(), [&](const BoundPorts& ports) { write_ports(flags.port_file, ports); });
  if (status.ok()) return kExitDone;
  log_error("failed", {{"error", describe(status)}});
  return kExitFailed;
}

}  // namespace

int run_program(Program& program, int argc, char** argv) {
  const Program::Text& text = program.text();
  Flags flags;
  CLI::App cli(fmt::format("{}: {}", text.name, text.purpose));
  add_options(cli, text, flags);
  try {
    cli.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return cli.exit(error) == 0 ? kExitDone : kExitUsage;
  }
  if (flags.reference) {
    std::fputs(program.reference().c_str(), stdout);
    return kExitDone;
  }
  std::vector<std::string> warnings;
  const Status status = program.load(flags.config_file, warnings);
  for (const std::string& warning : warnings) {
    const bool logged = status.ok() && !flags.check && !flags.print && !flags.sql;
    if (!logged) std::fprintf(stderr, "%s: warning: %s\n", text.name.c_str(), warning.c_str());
  }
  if (!status.ok()) {
    std::fprintf(stderr, "%s: the settings cannot be used:\n%s\n", text.name.c_str(), message_of(status).c_str());
    return kExitSettings;
  }
  if (flags.print) std::fputs(program.print().c_str(), stdout);
  if (flags.sql) std::fputs(program.print_sql().c_str(), stdout);
  if (!flags.print && !flags.sql && flags.check) std::puts("the settings are good");
  if (flags.check || flags.print || flags.sql) return kExitDone;
#ifdef NDEBUG
  // Debian's abseil looks for deadlocks at each lock, and gRPC takes dozens of its locks for a call.
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
#endif
  return serve(program, flags, warnings);
}

}  // namespace headgate
