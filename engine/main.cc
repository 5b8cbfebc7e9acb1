#include "base/log.h"
#include "base/mutex.h"
#include "base/program.h"
#include "engine/app.h"

namespace headgate::engine {
namespace {

class EngineProgram : public Program {
 public:
  EngineProgram()
      : Program({.name = "headgate-engine",
                 .version = HEADGATE_VERSION,
                 .commit = HEADGATE_COMMIT,
                 .purpose = "the authorization engine of Headgate",
                 .env_prefix = kEnvironmentPrefix,
                 .port_file_help = "write the bound ports to this file; grpc is 0 until calls are accepted"}) {}

  std::string reference() const override { return config_reference(); }
  Status load(const std::string& file, std::vector<std::string>& warnings) override {
    return load_config(file, process_environment(), config_, &warnings);
  }
  std::string print() const override { return print_config(config_); }
  const LogSettings& log() const override { return config_.log; }
  Duration stop_limit() const override {
    return config_.server.drain_window + config_.server.shutdown_timeout + Duration(5'000);
  }

  Status reload(const std::string& file, std::vector<std::string>& warnings) override {
    EngineConfig fresh;
    HG_RETURN_IF_ERROR(load_config(file, process_environment(), fresh, &warnings));
    // Another format would tear the lines that other threads are writing.
    configure_logging(fresh.log.level, config_.log.format);
    MutexLock lock(mutex_);
    if (app_ != nullptr) app_->reload(fresh);
    return ok_status();
  }
  Status run(std::stop_token stop, const std::function<void(const BoundPorts&)>& on_ports) override {
    App app(config_, {text().name, text().version, text().commit});
    const Running running(*this, app);
    return app.run(stop, [&](const AppPorts& ports) {
      on_ports({{"grpc", ports.grpc}, {"http", ports.http}});
      if (ports.grpc == 0) return;
      log_info("listening", {{"version", text().version}, {"grpc", ports.grpc}, {"http", ports.http}});
    });
  }

 private:
  // While it lives, reload() reaches the app.
  struct Running {
    Running(EngineProgram& to, App& app) : program(to) { program.set(&app); }
    ~Running() { program.set(nullptr); }
    EngineProgram& program;
  };
  void set(App* app) {
    MutexLock lock(mutex_);
    app_ = app;
  }

  EngineConfig config_;
  Mutex mutex_;
  App* app_ GUARDED_BY(mutex_) = nullptr;
};

}  // namespace
}  // namespace headgate::engine

int main(int argc, char** argv) {
  headgate::engine::EngineProgram program;
  return headgate::run_program(program, argc, argv);
}
