#include <optional>

#include "base/log.h"
#include "base/mutex.h"
#include "base/program.h"
#include "relay/app.h"

namespace headgate::relay {
namespace {

class RelayProgram : public Program {
 public:
  RelayProgram()
      : Program({.name = "headgate-relay",
                 .version = HEADGATE_VERSION,
                 .commit = HEADGATE_COMMIT,
                 .purpose = "delivers permission changes to Kafka, Redis and NATS",
                 .env_prefix = kEnvironmentPrefix,
                 .port_file_help = "write the port of HTTP to this file when it is bound"}) {}

  std::string reference() const override { return config_reference(); }
  Status load(const std::string& file, std::vector<std::string>& warnings) override {
    HG_RETURN_IF_ERROR(load_config(file, process_environment(), config_, &warnings));
    in_force_.emplace(reload_rules(), [this](Settings& s) { describe(s, config_); });
    return ok_status();
  }
  std::string print() const override { return print_config(config_); }
  std::string print_sql() const override {
    return config_.tokens.kind == TokenStoreKind::kPostgres
               ? preparation_sql(config_.tokens.postgres)
               : "-- Only a token store in PostgreSQL (tokens.kind) needs something there.\n";
  }
  const LogSettings& log() const override { return config_.log; }
  Duration stop_limit() const override { return config_.drain_timeout + Duration(10'000); }

  StatusOr<SettingsChanges> reload(const std::string& file, std::vector<std::string>& warnings) override {
    RelayConfig fresh;
    HG_RETURN_IF_ERROR(load_config(file, process_environment(), fresh, &warnings));
    MutexLock lock(mutex_);
    SettingsChanges changes =
        in_force_->take_over([this](Settings& s) { describe(s, config_); }, [&](Settings& s) { describe(s, fresh); });
    configure_logging(config_.log.level, config_.log.format);
    if (app_ != nullptr) app_->reload(config_, changes.taken);
    return changes;
  }
  Status run(std::stop_token stop, const std::function<void(const BoundPorts&)>& on_ports) override {
    App app(settings(), {text().name, text().version, text().commit});
    const Running running(*this, app);
    return app.run(stop, [&](int http_port) {
      on_ports({{"http", http_port}});
      log_info("listening", {{"version", text().version}, {"http", http_port}});
    });
  }

 private:
  // While it lives, reload() reaches the app.
  struct Running {
    Running(RelayProgram& to, App& app) : program(to) { program.set(&app); }
    ~Running() { program.set(nullptr); }
    RelayProgram& program;
  };
  RelayConfig settings() {
    MutexLock lock(mutex_);
    return config_;
  }
  void set(App* app) {
    MutexLock lock(mutex_);
    app_ = app;
  }

  RelayConfig config_;  // changed by reload() alone once run() is under way, and only what the rules name
  std::optional<SettingsInForce> in_force_;
  Mutex mutex_;
  App* app_ GUARDED_BY(mutex_) = nullptr;
};

}  // namespace
}  // namespace headgate::relay

int main(int argc, char** argv) {
  headgate::relay::RelayProgram program;
  return headgate::run_program(program, argc, argv);
}
