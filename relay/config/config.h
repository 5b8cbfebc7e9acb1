// The settings of headgate-relay: YAML < environment (HEADGATE_RELAY_*). The parts themselves never see YAML.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/program.h"
#include "base/settings.h"
#include "relay/delivery/distributor.h"
#include "relay/tokens/store_settings.h"
#include "relay/upstream/settings.h"
#include "sinks/table.h"

namespace headgate::relay {

inline constexpr const char* kEnvironmentPrefix = "HEADGATE_RELAY";

struct SinkConfig {
  std::string kind;
  sinks::SinkSettings settings;
  WorkerSettings worker;
};

struct AdminConfig {
  std::string address = "0.0.0.0";
  int port = 8080;
  std::string token;  // of those who may change something; secret
};

struct RelayConfig {
  std::string name = "default";  // of this relay; cursors are kept under it
  UpstreamSettings upstream;
  size_t source_event_bytes = 0;  // 0: what the engine tells
  double connections_per_second = 10;
  double connections_burst = 20;
  DistributorSettings delivery;
  TokenStoreSettings tokens;
  std::vector<SinkConfig> sinks;
  Duration drain_timeout{10'000};
  AdminConfig admin;
  LogSettings log;
};

using headgate::describe;  // of a Status, which the next line would hide
void describe(Settings& s, RelayConfig& config);

// INVALID_ARGUMENT with one fault a line. `file` may be empty.
Status load_config(const std::string& file, const std::map<std::string, std::string>& environment, RelayConfig& config,
                   std::vector<std::string>* warnings);
// Markdown tables of all keys, those of each kind of sink in a table of their own.
std::string config_reference();
// What SIGHUP takes over, as App::reload() does.
ReloadRules reload_rules();
// Secrets are masked.
std::string print_config(RelayConfig config);

}  // namespace headgate::relay
