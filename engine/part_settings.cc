#include "engine/part_settings.h"

#include <unistd.h>

#include "engine/storage/json_size.h"
#include "engine/storage/postgres_history.h"

namespace headgate::engine {

PoolSettings pool_settings(const EngineConfig& config) {
  PoolSettings settings;
  settings.uri = config.database.uri;
  settings.connections_max = config.database.max_connections - config.reserved_connections();
  settings.acquire_timeout = config.database.acquire_timeout;
  settings.connect_timeout = config.database.connect_timeout;
  settings.statement_timeout = config.database.statement_timeout;
  return settings;
}

PoolSettings probe_settings(const DatabaseConfig& config) {
  PoolSettings settings;
  settings.uri = config.uri;
  settings.connections_max = 1;
  settings.connect_timeout = Duration(2'000);
  settings.statement_timeout = Duration(1'000);
  settings.application_name = "headgate-health";
  return settings;
}

ServerSettings server_settings(const EngineConfig& config) {
  ServerSettings settings;
  settings.address = config.server.address;
  settings.port = config.server.port;
  settings.tls = {config.tls.certificate, config.tls.key, config.tls.client_ca, config.tls.reload_interval};
  settings.reflection = config.server.reflection;
  settings.receive_bytes_max = static_cast<int>(config.server.receive_bytes_max);
  settings.keepalive_time = config.server.keepalive_time;
  settings.keepalive_timeout = config.server.keepalive_timeout;
  settings.client_ping_interval_min = config.server.client_ping_interval_min;
  settings.connections = {config.server.connections_max, config.server.connections_per_peer_max,
                          config.server.connects_per_second, config.server.connects_burst};
  settings.handshake_timeout = config.server.handshake_timeout;
  settings.memory_rise_max = config.server.memory_rise_max;
  settings.first_call_timeout = config.server.first_call_timeout;
  settings.calls_per_connection_max = config.server.calls_per_connection_max;
  // Connections to the database, clients of admin HTTP, and gRPC's and our own few.
  settings.reserved_descriptors = static_cast<size_t>(config.database.max_connections) + 96;
  return settings;
}

HistoryOpener history_opener(const DatabaseConfig& config, std::stop_token stop, std::shared_ptr<Pool> pool) {
  HistorySettings settings;
  settings.uri = config.uri;
  settings.connect_timeout = config.connect_timeout;
  settings.statement_timeout = config.statement_timeout;
  settings.stop = std::move(stop);
  return [settings, pool = std::move(pool)] {
    auto opened = open_history(settings);
    pool->make_room_after(opened.status());
    return opened;
  };
}

FeedSettings feed_settings(const FeedConfig& config) {
  return {.ring = {config.ring_bytes, config.ring_age},
          .part_bytes_max = config.part_bytes_max,
          .page_changes = config.page_changes,
          .poll_busy = config.poll_busy,
          .poll_idle = config.poll_idle,
          .outage_grace = config.outage_grace,
          .hang_max = config.hang_max,
          .catch_up_threads = config.catch_up_threads,
          .catch_up_bytes = config.catch_up_bytes,
          .ahead_after = config.ahead_after};
}

WatchSettings watch_settings(const EngineConfig& config) {
  const WatchConfig& watch = config.watch;
  return {.buffer_messages = config.database.watch_buffer_size,
          .buffer_bytes = watch.buffer_bytes,
          .streams_max = watch.streams_max,
          .opens_per_second = watch.opens_per_second,
          .opens_burst = watch.opens_burst,
          .heartbeat_min = watch.heartbeat_min,
          .limits = {.attribute_json_bytes_max = config.limits.attribute_json_bytes_max,
                     .part_bytes_max = config.feed.part_bytes_max,
                     .part_json_bytes_max = kJsonBytesMax}};
}

GcSettings gc_settings(const EngineConfig& config, std::shared_ptr<Pool> pool) {
  GcSettings settings;
  settings.on_refused = [pool = std::move(pool)](const Status& refusal) { pool->make_room_after(refusal); };
  settings.uri = config.database.uri;
  settings.collect = config.gc.enabled;
  settings.interval = config.gc.interval;
  settings.window = config.gc.window;
  settings.batch = config.gc.batch_rows;
  settings.batch_pause = config.gc.batch_pause;
  char host[256] = {};
  gethostname(host, sizeof(host) - 1);
  settings.holder = fmt::format("{}/{}", host, getpid());
  return settings;
}

CheckSettings check_settings(const EngineConfig& config) {
  CheckSettings settings;
  settings.limits.batch.rows_max = config.check.rows_max;
  settings.limits.nodes_max = config.check.sub_problems_max;
  settings.limits.time_max = config.check.time_max;
  settings.page_size_max = config.limits.page_size_max;
  settings.page_size_default = std::min(settings.page_size_default, settings.page_size_max);
  return settings;
}

std::vector<std::string> accepted_keys(const AuthnConfig& config) {
  return config.method == "preshared" ? config.keys : std::vector<std::string>();
}

}  // namespace headgate::engine
