#include "engine/config/config.h"

#include <algorithm>

#include "base/postgres/connect.h"
#include "base/settings_text.h"

namespace headgate::engine {
namespace {

using namespace std::chrono_literals;

const std::vector<std::string> kRoles = {"write", "check", "watch"};

void describe(Settings& s, ServerConfig& c) {
  s.text("address", c.address, "where gRPC listens");
  s.integer("port", c.port, "port of gRPC; 0 takes any free one", 0, 65535);
  s.integer("workers", c.workers, "threads that run unary calls", 1, 1000);
  s.integer("waiting_max", c.waiting_max,
            "unary calls that may wait for a worker, and as many writes for a connection; one more is refused",
            size_t{1}, size_t{1'000'000});
  s.bytes("waiting_bytes_max", c.waiting_bytes_max, "the same in bytes of requests", 1 << 20);
  s.bytes("receive_bytes_max", c.receive_bytes_max, "largest request", 1024, 1u << 30);
  s.flag("reflection", c.reflection, "serve gRPC reflection; it is never authenticated");
  s.duration("keepalive_time", c.keepalive_time, "silence after which a connection is pinged", 1s);
  s.duration("keepalive_timeout", c.keepalive_timeout, "wait for the answer to a ping", 1s);
  s.duration("client_ping_interval_min", c.client_ping_interval_min, "clients that ping more often are sent away");
  s.integer("connections_max", c.connections_max,
            "connections to gRPC; fewer where the limit of open files is low, and one more is refused", size_t{1},
            size_t{1'000'000});
  s.integer("connections_per_peer_max", c.connections_per_peer_max,
            "the same from one address (of IPv6: from one /64), and never more than half of all", size_t{1},
            size_t{1'000'000});
  s.real("connects_per_second", c.connects_per_second, "connections that one address may make a second", 0.001);
  s.real("connects_burst", c.connects_burst, "connections that one address may make at once", 1);
  s.duration("handshake_timeout", c.handshake_timeout,
             "time for TLS and the first words of HTTP/2, then a connection is ended", 100ms);
  s.duration("first_call_timeout", c.first_call_timeout,
             "time for a first call that is let in, of a connection that says more than 8 kB; 0: for ever");
  s.integer("calls_per_connection_max", c.calls_per_connection_max,
            "open calls and streams of one connection; clients keep further ones waiting", 1, 1'000'000);
  s.bytes("memory_rise_max", c.memory_rise_max,
          "when the process' memory rises by more within ten seconds, and messages do not explain it, the connection "
          "that sent most is ended",
          16 << 20);
  s.duration("drain_window", c.drain_window, "time over which streams are ended at shutdown");
  s.duration("shutdown_timeout", c.shutdown_timeout, "time for open calls at shutdown");
}

void describe(Settings& s, TlsConfig& c) {
  s.text("certificate", c.certificate, "path of the PEM certificate chain; empty serves plaintext");
  s.text("key", c.key, "path of the PEM key");
  s.text("client_ca", c.client_ca, "path of the authority whose certificates clients must show; empty asks for none");
  s.duration("reload_interval", c.reload_interval, "how often the files are read again", 1s);
  s.require(c.certificate.empty() == c.key.empty(), c.key.empty() ? "certificate" : "key",
            "needs both certificate and key");
  s.require(c.client_ca.empty() || !c.certificate.empty(), "client_ca", "needs certificate and key");
  s.require(check_readable(c.certificate), "certificate");
  s.require(check_readable(c.key), "key");
  s.require(check_readable(c.client_ca), "client_ca");
}

void describe(Settings& s, AuthnConfig& c) {
  s.choice("method", c.method, {"none", "preshared"}, "how callers are recognised");
  s.secret_list("keys", c.keys, "bearer tokens that are accepted, for preshared");
  s.require(c.method != "preshared" || !c.keys.empty(), "keys", "must hold at least one key for method preshared");
  s.require(std::find(c.keys.begin(), c.keys.end(), "") == c.keys.end(), "keys", "must not hold an empty key");
}

void describe(Settings& s, DatabaseConfig& c) {
  s.secret("uri", c.uri, "postgres://user:password@host:port/database");
  s.integer("max_connections", c.max_connections, "connections of this process, those of the feed included", 2, 10'000);
  s.duration("acquire_timeout", c.acquire_timeout, "wait for a free connection", 1ms);
  s.duration("connect_timeout", c.connect_timeout, "time to open a connection", 1s);
  s.duration("statement_timeout", c.statement_timeout, "longest statement", 1ms);
  s.flag("auto_migrate", c.auto_migrate, "create or complete the tables at start");
  s.integer("max_data_per_write", c.max_data_per_write, "tuples and attributes of one write", 1, 1'000'000);
  s.integer("max_data_per_delete", c.max_data_per_delete,
            "tuples and attributes that one deletion may match; it holds its tenant's writers up and must end within "
            "statement_timeout",
            1, 100'000'000);
  s.integer("max_retries", c.max_retries, "how often a write that could not be serialised is repeated", 0, 1000);
  s.integer("watch_buffer_size", c.watch_buffer_size, "messages handed to one stream and not yet sent", 1, 100'000);
  s.require(!c.uri.empty(), "uri", "must be set");
  if (!c.uri.empty()) s.require(check_postgres_uri(c.uri), "uri");
}

void describe(Settings& s, FeedConfig& c) {
  s.duration("poll_busy", c.poll_busy, "pause between two polls while there is work", 0ms);
  s.duration("poll_idle", c.poll_idle, "longest pause between two polls", 1ms);
  s.bytes("ring_bytes", c.ring_bytes, "recent changes kept for streams", 1 << 20);
  s.duration("ring_age", c.ring_age, "age up to which changes are kept", 1s);
  s.bytes("part_bytes_max", c.part_bytes_max,
          "larger transactions travel in parts of this size, and of 950,000 bytes as JSON", 64 << 10, 3 << 20);
  s.integer("page_changes", c.page_changes, "changes read from the database at once", size_t{1}, size_t{1'000'000});
  s.integer("catch_up_threads", c.catch_up_threads, "connections for streams that start behind the ring", 1, 100);
  s.bytes("catch_up_bytes", c.catch_up_bytes, "what such a stream may hold in memory", 64 << 10);
  s.duration("outage_grace", c.outage_grace, "how long streams stay open while the database is away");
  s.duration("hang_max", c.hang_max, "a statement of the feed that takes longer is broken off", 100ms);
  s.duration(
      "ahead_after", c.ahead_after,
      "how long a transaction in progress must hold the feed back before those of other tenants are told in front of "
      "it; 0: never");
  s.require(c.poll_busy <= c.poll_idle, "poll_idle", "must not be less than poll_busy");
}

void describe(Settings& s, WatchConfig& c) {
  s.bytes("buffer_bytes", c.buffer_bytes, "bytes handed to one stream and not yet sent", 64 << 10);
  s.integer("streams_max", c.streams_max, "open streams; one more is refused", 1, 10'000'000);
  s.real("opens_per_second", c.opens_per_second, "streams one client address may open a second", 0.001);
  s.real("opens_burst", c.opens_burst, "streams one client address may open at once", 1);
  s.duration("heartbeat_min", c.heartbeat_min, "shortest heartbeat a client may ask for", 10ms);
}

void describe(Settings& s, GcConfig& c) {
  s.flag("enabled", c.enabled, "remove history that is older than the window");
  s.duration("interval", c.interval, "between two runs", 1s);
  s.duration("window", c.window, "history that is kept", 1min);
  s.integer("batch_rows", c.batch_rows, "rows removed by one statement", 1, 1'000'000);
  s.duration("batch_pause", c.batch_pause, "between two statements, to leave the disk to others");
}

void describe(Settings& s, CheckConfig& c) {
  s.duration("max_staleness", c.max_staleness,
             "how old a state may be that answers a check without a snap token; 0: asked for by each");
  s.duration("time_max", c.time_max, "a check that takes longer fails", 10ms);
  s.integer("sub_problems_max", c.sub_problems_max, "what the answer of one request may rest on", size_t{100},
            size_t{100'000'000});
  s.integer("rows_max", c.rows_max, "rows that one step of a check may read of a kind", size_t{10}, size_t{10'000'000});
}

void describe(Settings& s, LimitsConfig& c) {
  s.integer("page_size_default", c.page_size_default, "page size of reads and lists that ask for none", 1u, 1'000'000u);
  s.integer("page_size_max", c.page_size_max, "larger pages are served in parts", 1u, 1'000'000u);
  s.bytes("attribute_json_bytes_max", c.attribute_json_bytes_max,
          "largest attribute of a write, as the JSON that sinks send; the sinks take a million bytes by default",
          1 << 10);
  s.require(c.page_size_default <= c.page_size_max, "page_size_default", "must not be more than page_size_max");
}

void describe(Settings& s, AdminConfig& c) {
  s.text("address", c.address, "where probes and metrics are served over HTTP");
  s.integer("port", c.port, "port of HTTP; 0 takes any free one", 0, 65535);
}

void describe(Settings& s, LogSettings& c) {
  s.choice("level", c.level, {"trace", "debug", "info", "warn", "error", "off"}, "least severe level that is written");
  s.choice("format", c.format, {"text", "json"}, "how a record looks");
}

}  // namespace

bool EngineConfig::has_role(const std::string& role) const {
  return std::find(roles.begin(), roles.end(), role) != roles.end();
}

int EngineConfig::reserved_connections() const {
  return 1 + (has_role("watch") ? 2 + feed.catch_up_threads : gc.enabled ? 1 : 0);
}

void describe(Settings& s, EngineConfig& c) {
  s.list("roles", c.roles, "what this process serves: write, check, watch");
  s.require(!c.roles.empty(), "roles", "must not be empty");
  for (const std::string& role : c.roles) {
    s.require(std::find(kRoles.begin(), kRoles.end(), role) != kRoles.end(), "roles",
              fmt::format("holds '{}', which is not one of write, check, watch", role));
  }
  s.section("server", [&] { describe(s, c.server); });
  s.section("tls", [&] { describe(s, c.tls); });
  s.section("authn", [&] { describe(s, c.authn); });
  s.section("database", [&] { describe(s, c.database); });
  s.section("feed", [&] { describe(s, c.feed); });
  s.section("watch", [&] { describe(s, c.watch); });
  s.section("gc", [&] { describe(s, c.gc); });
  s.require(c.database.max_connections > c.reserved_connections(), "database",
            fmt::format("needs max_connections of more than {}, which are not for calls", c.reserved_connections()));
  s.section("check", [&] { describe(s, c.check); });
  s.section("limits", [&] { describe(s, c.limits); });
  s.section("admin", [&] { describe(s, c.admin); });
  s.section("log", [&] { describe(s, c.log); });
}

Status load_config(const std::string& file, const std::map<std::string, std::string>& environment, EngineConfig& config,
                   std::vector<std::string>* warnings) {
  SettingsSource source;
  source.file = file;
  source.env_prefix = kEnvironmentPrefix;
  source.environment = environment;
  return load_settings([&](Settings& s) { describe(s, config); }, source, warnings);
}

std::string config_reference() {
  EngineConfig config;
  return settings_reference([&](Settings& s) { describe(s, config); }, kEnvironmentPrefix);
}

ReloadRules reload_rules() {
  ReloadRules rules;
  rules.keys = {"log.level", "authn.keys"};
  return rules;
}

std::string print_config(EngineConfig config) {
  return print_settings([&](Settings& s) { describe(s, config); });
}

}  // namespace headgate::engine
