#include <optional>

#include "base/log.h"
#include "base/mutex.h"
#include "base/postgres/connect.h"
#include "base/program.h"
#include "engine/app.h"
#include "engine/storage/rights.h"

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
    HG_RETURN_IF_ERROR(load_config(file, process_environment(), config_, &warnings));
    in_force_.emplace(reload_rules(), [this](Settings& s) { describe(s, config_); });
    return ok_status();
  }
  std::string print() const override { return print_config(config_); }
  std::string print_sql() const override { return preparation_sql(postgres_role(config_.database.uri)); }
  const LogSettings& log() const override { return config_.log; }
  Duration stop_limit() const override {
    return config_.server.drain_window + config_.server.shutdown_timeout + Duration(5'000);
  }

  StatusOr<SettingsChanges> reload(const std::string& file, std::vector<std::string>& warnings) override {
    EngineConfig fresh;
    HG_RETURN_IF_ERROR(load_config(file, process_environment(), fresh, &warnings));
    MutexLock lock(mutex_);
    SettingsChanges changes =
        in_force_->take_over([this](Settings& s) { describe(s, config_); }, [&](Settings& s) { describe(s, fresh); });
    configure_logging(config_.log.level, config_.log.format);
    if (app_ != nullptr) app_->reload(config_);
    return changes;
  }
  Status run(std::stop_token stop, const std::function<void(const BoundPorts&)>& on_ports) override {
    App app(settings(), {text().name, text().version, text().commit});
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
  EngineConfig settings() {
    MutexLock lock(mutex_);
    return config_;
  }
  void set(App* app) {
    MutexLock lock(mutex_);
    app_ = app;
  }

  EngineConfig config_;  // changed by reload() alone once run() is under way, and only what the rules name
  std::optional<SettingsInForce> in_force_;
  Mutex mutex_;
  App* app_ GUARDED_BY(mutex_) = nullptr;
};

}  // namespace
}  // namespace headgate::engine

int main(int argc, char** argv) {
  headgate::engine::EngineProgram program;
  return headgate::run_program(program, argc, argv);
}
