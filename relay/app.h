// The whole relay: the only file that knows all parts, builds them from the configuration and runs them in order.
//
// Start: admin HTTP -> token store (again and again while it is away) -> sinks, hub, source. Stop: not ready -> source
// ends -> sinks drain to a deadline -> cursors committed -> token store closed -> admin HTTP. relay/README.md lists the
// threads.
#pragma once

#include <functional>
#include <memory>
#include <stop_token>
#include <string>

#include "base/process_metrics.h"
#include "base/status.h"
#include "relay/config/config.h"

namespace headgate::relay {

class App {
 public:
  App(RelayConfig config, BuildInfo build);
  ~App();
  App(const App&) = delete;
  App& operator=(const App&) = delete;

  // Blocks until `stop` is requested and everything has ended. `on_listening` is called once, with the port of HTTP.
  // An error is final: an address in use, settings of a sink or the source that cannot work. A token store, source or
  // sink that is away is none.
  Status run(std::stop_token stop, const std::function<void(int http_port)>& on_listening);
  // Takes over what reload_rules() name: `taken` are the paths of what has changed, as sinks.0.password. A sink opens
  // anew with its next write. From any thread, while run() has not returned.
  void reload(const RelayConfig& config, const std::vector<std::string>& taken);

 private:
  struct Parts;

  StatusOr<std::vector<SinkPart>> make_sinks();
  Status serve(std::stop_token stop);
  Status own_tokens(std::stop_token stop);
  Status own_tokens_once();
  void shut_down();

  const RelayConfig config_;
  const BuildInfo build_;
  std::unique_ptr<Parts> parts_;
};

}  // namespace headgate::relay
