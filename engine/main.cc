#include "base/log.h"
#include "base/program.h"
#include "engine/app.h"

namespace headgate::engine {
namespace {

class EngineProgram : public Program {
 public:
  EngineProgram()
      : Program({.name = "headgate-engine",
                 .version = HEADGATE_VERSION,
                 .purpose = "the authorization engine of Headgate",
                 .env_prefix = kEnvironmentPrefix,
                 .port_file_help = "write the bound ports to this file; grpc is 0 until calls are accepted"}) {}

  std::string reference() const override { return config_reference(); }
  Status load(const std::string& file, std::vector<std::string>& warnings) override {
    return load_config(file, process_environment(), config_, &warnings);
  }
  std::string print() const override { return print_config(config_); }
  const LogSettings& log() const override { return config_.log; }

  Status run(std::stop_token stop, const std::function<void(const BoundPorts&)>& on_ports) override {
    App app(config_, text().version);
    return app.run(stop, [&](const AppPorts& ports) {
      on_ports({{"grpc", ports.grpc}, {"http", ports.http}});
      if (ports.grpc == 0) return;
      log_info("listening", {{"version", text().version}, {"grpc", ports.grpc}, {"http", ports.http}});
    });
  }

 private:
  EngineConfig config_;
};

}  // namespace
}  // namespace headgate::engine

int main(int argc, char** argv) {
  headgate::engine::EngineProgram program;
  return headgate::run_program(program, argc, argv);
}
