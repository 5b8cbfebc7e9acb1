#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <fstream>

#include "base/log.h"
#include "base/signals.h"
#include "relay/app.h"

namespace headgate::relay {
namespace {

struct Flags {
  std::string config_file;
  std::string port_file;
  bool check = false;
  bool print = false;
  bool reference = false;
};

// Appears complete or not at all, so that whoever waits for it can read it at once.
void write_port(const std::string& path, int http_port) {
  if (path.empty()) return;
  const std::string part = path + ".part";
  std::ofstream(part) << fmt::format("http={}\n", http_port);
  std::filesystem::rename(part, path);
}

int serve(const Flags& flags, const RelayConfig& config, const std::vector<std::string>& warnings) {
  configure_logging(config.log.level, config.log.format);
  for (const std::string& warning : warnings) log_warn("config", {{"warning", warning}});
  SignalStop signals;
  App app(config, HEADGATE_VERSION);
  const Status status = app.run(signals.token(), [&](int http_port) {
    write_port(flags.port_file, http_port);
    log_info("listening", {{"version", HEADGATE_VERSION}, {"http", http_port}});
  });
  if (status.ok()) return 0;
  log_error("failed", {{"error", headgate::describe(status)}});
  return 1;
}

int run(int argc, char** argv) {
  Flags flags;
  CLI::App cli("headgate-relay: delivers permission changes to Kafka, Redis and NATS");
  cli.set_version_flag("--version", std::string("headgate-relay ") + HEADGATE_VERSION);
  cli.add_option("-c,--config", flags.config_file, "YAML file with settings; HEADGATE_RELAY_* variables win over it");
  cli.add_option("--port-file", flags.port_file, "write the port of HTTP to this file when it is bound");
  cli.add_flag("--check-config", flags.check, "check the settings and leave");
  cli.add_flag("--print-config", flags.print, "print the settings in force, without secrets, and leave");
  cli.add_flag("--settings", flags.reference, "print a table of all settings and leave");
  CLI11_PARSE(cli, argc, argv);

  RelayConfig config;
  if (flags.reference) {
    std::fputs(config_reference().c_str(), stdout);
    return 0;
  }
  std::vector<std::string> warnings;
  const Status status = load_config(flags.config_file, process_environment(), config, &warnings);
  if (!status.ok()) {
    std::fprintf(stderr, "headgate-relay: the settings cannot be used:\n%s\n", message_of(status).c_str());
    return 2;
  }
  for (const std::string& warning : warnings) {
    if (flags.check) std::fprintf(stderr, "headgate-relay: warning: %s\n", warning.c_str());
  }
  if (flags.print) std::fputs(print_config(config).c_str(), stdout);
  if (!flags.print && flags.check) std::puts("the settings are good");
  if (flags.check || flags.print) return 0;
  return serve(flags, config, warnings);
}

}  // namespace
}  // namespace headgate::relay

int main(int argc, char** argv) { return headgate::relay::run(argc, argv); }
