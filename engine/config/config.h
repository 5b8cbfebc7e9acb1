// Everything an operator can set of the engine: one YAML file and HEADGATE_ENGINE_* variables.
//
// Plain values; App turns them into the settings of the parts. engine/config/README.md says what belongs together.
#pragma once

#include <string>
#include <vector>

#include "base/clock.h"
#include "base/program.h"
#include "base/settings.h"
#include "base/status.h"

namespace headgate::engine {

inline constexpr const char* kEnvironmentPrefix = "HEADGATE_ENGINE";

struct ServerConfig {
  std::string address = "0.0.0.0";
  int port = 3478;
  int workers = 16;
  size_t waiting_max = 1000;
  size_t waiting_bytes_max = 64 << 20;
  size_t receive_bytes_max = 4 << 20;
  bool reflection = true;
  Duration keepalive_time{60'000};
  Duration keepalive_timeout{20'000};
  Duration client_ping_interval_min{10'000};
  size_t connections_max = 5'000;
  size_t connections_per_peer_max = 2'500;
  double connects_per_second = 500;
  double connects_burst = 2'500;
  Duration handshake_timeout{10'000};
  Duration first_call_timeout{30'000};
  int calls_per_connection_max = 10'000;
  size_t memory_rise_max = 96 << 20;
  Duration drain_window{5'000};
  Duration shutdown_timeout{10'000};
};

struct TlsConfig {
  std::string certificate;
  std::string key;
  std::string client_ca;
  std::chrono::seconds reload_interval{60};
};

struct AuthnConfig {
  std::string method = "none";
  std::vector<std::string> keys;
};

struct DatabaseConfig {
  std::string uri;
  int max_connections = 20;
  Duration acquire_timeout{5'000};
  Duration connect_timeout{5'000};
  Duration statement_timeout{30'000};
  bool auto_migrate = true;
  int max_data_per_write = 1000;
  int max_data_per_delete = 500'000;
  int max_retries = 10;
  int watch_buffer_size = 100;
};

struct FeedConfig {
  Duration poll_busy{1};
  Duration poll_idle{25};
  size_t ring_bytes = 64 << 20;
  Duration ring_age{300'000};
  size_t part_bytes_max = 128 << 10;
  size_t page_changes = 5000;
  int catch_up_threads = 4;
  size_t catch_up_bytes = 1 << 20;
  Duration outage_grace{30'000};
  Duration hang_max{10'000};
  Duration ahead_after{20};
};

struct WatchConfig {
  size_t buffer_bytes = 4 << 20;
  int streams_max = 10'000;
  double opens_per_second = 50;
  double opens_burst = 200;
  Duration heartbeat_min{100};
};

struct GcConfig {
  bool enabled = false;
  Duration interval{180'000};
  Duration window{30LL * 24 * 3600 * 1000};
  int batch_rows = 5000;
  Duration batch_pause{20};
};

struct CheckConfig {
  Duration max_staleness{100};
  Duration time_max{20'000};
  size_t sub_problems_max = 100'000;
  size_t rows_max = 50'000;
};

struct LimitsConfig {
  uint32_t page_size_default = 50;
  uint32_t page_size_max = 5000;
  size_t attribute_json_bytes_max = 950'000;
};

struct AdminConfig {
  std::string address = "0.0.0.0";
  int port = 9478;
};

struct EngineConfig {
  std::vector<std::string> roles = {"write", "check", "watch"};
  ServerConfig server;
  TlsConfig tls;
  AuthnConfig authn;
  DatabaseConfig database;
  FeedConfig feed;
  WatchConfig watch;
  GcConfig gc;
  CheckConfig check;
  LimitsConfig limits;
  AdminConfig admin;
  LogSettings log;

  bool has_role(const std::string& role) const;
  // Connections that are not for calls: the health checker, the feed and the collector.
  int reserved_connections() const;
};

// Keeps the describe() of a Status visible beside the one below.
using headgate::describe;

// Binds every key. Used for reading, printing and the reference.
void describe(Settings& settings, EngineConfig& config);

// Defaults < `file` (may be empty) < environment. INVALID_ARGUMENT with one fault a line.
Status load_config(const std::string& file, const std::map<std::string, std::string>& environment, EngineConfig& config,
                   std::vector<std::string>* warnings = nullptr);

// A Markdown table of all keys.
std::string config_reference();
// What SIGHUP takes over, as App::reload() does.
ReloadRules reload_rules();
// As YAML, without secrets.
std::string print_config(EngineConfig config);

}  // namespace headgate::engine
