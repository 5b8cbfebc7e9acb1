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
    return load_config(file, process_environment(), config_, &warnings);
  }
  std::string print() const override { return print_config(config_); }
  const LogSettings& log() const override { return config_.log; }
  Duration stop_limit() const override { return config_.drain_timeout + Duration(10'000); }

  Status reload(const std::string& file, std::vector<std::string>& warnings) override {
    RelayConfig fresh;
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
  void set(App* app) {
    MutexLock lock(mutex_);
    app_ = app;
  }

  RelayConfig config_;
  Mutex mutex_;
  App* app_ GUARDED_BY(mutex_) = nullptr;
};

}  // namespace
}  // namespace headgate::relay

int main(int argc, char** argv) {
  headgate::relay::RelayProgram program;
  return headgate::run_program(program, argc, argv);
}
