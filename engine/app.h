// The whole engine: the only file that knows all parts, builds them from the configuration and runs them in order.
//
// Start: admin HTTP -> database prepared (again and again while it is away) -> gRPC. Stop: not ready -> streams drained
// -> gRPC ended -> workers -> feed -> admin HTTP. Threads are listed in engine/README.md.
#pragma once

#include <functional>
#include <memory>
#include <stop_token>
#include <string>

#include "base/process_metrics.h"
#include "base/status.h"
#include "engine/config/config.h"

namespace headgate::engine {

struct AppPorts {
  int grpc = 0;
  int http = 0;
};

class Authenticator;

class App {
 public:
  App(EngineConfig config, BuildInfo build);
  ~App();
  App(const App&) = delete;
  App& operator=(const App&) = delete;

  // Blocks until `stop` is requested and everything has ended. `on_ports` is called when admin HTTP listens, with
  // gRPC's port 0, and again when calls are accepted. An error is final: an address in use, unreadable TLS files, a
  // database layout that this engine cannot work on. A database that is away is none.
  Status run(std::stop_token stop, const std::function<void(const AppPorts&)>& on_ports);
  // Takes over what reload_rules() name. From any thread, while run() has not returned.
  void reload(const EngineConfig& config);

 private:
  struct Parts;

  Status prepare_database(std::stop_token stop);
  Status build();
  void build_feed();
  void build_checks();
  Status listen();
  void shut_down();
  void add_routes();
  std::string status_json() const;

  const EngineConfig config_;
  const BuildInfo build_;
  std::stop_token stop_;  // of run()
  const std::unique_ptr<Authenticator> authenticator_;
  std::unique_ptr<Parts> parts_;
};

}  // namespace headgate::engine
