#include "base/log.h"
#include "base/program.h"
#include "relay/app.h"

namespace headgate::relay {
namespace {

class RelayProgram : public Program {
 public:
  RelayProgram()
      : Program({.name = "headgate-relay",
                 .version = HEADGATE_VERSION,
                 .purpose = "delivers permission changes to Kafka, Redis and NATS",
                 .env_prefix = kEnvironmentPrefix,
                 .port_file_help = "write the port of HTTP to this file when it is bound"}) {}

  std::string reference() const override { return config_reference(); }
  Status load(const std::string& file, std::vector<std::string>& warnings) override {
    return load_config(file, process_environment(), config_, &warnings);
  }
  std::string print() const override { return print_config(config_); }
  const LogSettings& log() const override { return config_.log; }

  Status run(std::stop_token stop, const std::function<void(const BoundPorts&)>& on_ports) override {
    App app(config_, text().version);
    return app.run(stop, [&](int http_port) {
      on_ports({{"http", http_port}});
      log_info("listening", {{"version", text().version}, {"http", http_port}});
    });
  }

 private:
  RelayConfig config_;
};

}  // namespace
}  // namespace headgate::relay

int main(int argc, char** argv) {
  headgate::relay::RelayProgram program;
  return headgate::run_program(program, argc, argv);
}
