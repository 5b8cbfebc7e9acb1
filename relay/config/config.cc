#include "relay/config/config.h"

#include <set>

#include "base/postgres/connect.h"
#include "base/settings_text.h"
#include "relay/config/redis.h"
#include "relay/config/sinks.h"

namespace headgate::relay {

namespace {

using namespace std::chrono_literals;

void describe(Settings& s, BackoffSettings& c) {
  s.duration("initial", c.initial, "ceiling of the first wait; each later one doubles it", 1ms);
  s.duration("max", c.max, "highest ceiling", 1ms);
  s.require(c.initial <= c.max, "max", "must not be less than initial");
}

void describe(Settings& s, UpstreamTls& c) {
  s.flag("enabled", c.enabled, "encrypt the connection");
  s.text("ca_file", c.ca_file, "path of the authorities; empty takes the system's");
  s.text("cert_file", c.cert_file, "path of the client's certificate");
  s.text("key_file", c.key_file, "path of its key");
  s.text("server_name", c.server_name, "expected in the certificate, when it is not the host of the address");
  s.require(c.cert_file.empty() == c.key_file.empty(), "key_file", "needs both cert_file and key_file");
  s.require(check_readable(c.ca_file), "ca_file");
  s.require(check_readable(c.cert_file), "cert_file");
  s.require(check_readable(c.key_file), "key_file");
}

void describe(Settings& s, RelayConfig& c, UpstreamSettings& u) {
  s.text("address", u.address, "host:port of the engine, or a gRPC target such as dns:///engine:3478");
  s.choice("kind", u.kind,
           {{"auto", UpstreamKind::kAuto}, {"feed", UpstreamKind::kFeed}, {"watch", UpstreamKind::kWatch}},
           "feed: one stream of our engine; watch: one stream a tenant of any engine; auto tries feed first");
  s.section("tls", [&] { describe(s, u.tls); });
  s.secret("key", u.key, "bearer token for the engine");
  s.duration("call_timeout", u.call_timeout, "time for single calls", 100ms);
  s.duration("heartbeat_interval", u.heartbeat_interval, "feed: asked from the engine", 100ms, 1h);
  s.integer("heartbeats_missed", u.heartbeats_missed, "feed: silence of so many intervals ends the stream", 2, 1000);
  s.duration("keepalive", u.keepalive, "feed: between two pings of a quiet connection; 0 sends none");
  s.integer("watch_channels", u.watch_channels, "watch: connections that the streams share", 1, 1000);
  s.duration("tenant_poll", u.tenant_poll, "watch: how often tenants are listed", 10ms);
  s.section("stream_backoff", [&] { describe(s, u.stream_backoff); });
  s.duration("watch_keepalive", u.watch_keepalive, "watch: between two pings of a quiet connection; 0 sends none");
  s.duration("quiet_token_age", u.quiet_token_age, "watch: how old a token must be to hold for quiet tenants", 1s);
  s.section("backoff", [&] { describe(s, c.delivery.session.backoff); });
  s.bytes(
      "event_bytes_max", c.source_event_bytes,
      "largest event to be expected, sinks that take less are warned of; 0: as the engine tells it, or 4 MiB of one "
      "that does not");
  s.real("connections_per_second", c.connections_per_second, "streams this process opens a second, at most", 0.01);
  s.real("connections_burst", c.connections_burst, "streams it may open at once", 1);
}

void describe(Settings& s, SessionSettings& c) {
  s.list("include", c.tenants.patterns, "names or patterns with * and ?");
  s.choice("start", c.default_start,
           {{"head", StartPolicy::kHead}, {"earliest", StartPolicy::kEarliest}, {"snapshot", StartPolicy::kSnapshot}},
           "where a relay without cursors begins; snapshot: with the state of each tenant");
  s.choice("on_gap", c.on_gap,
           {{"fail", GapPolicy::kFail}, {"from_head", GapPolicy::kFromHead}, {"snapshot", GapPolicy::kSnapshot}},
           "when the source has lost history, behind a GAP event: stop the tenant, go on where it can, or send its "
           "state first");
  s.require(!c.tenants.patterns.empty(), "include", "must name at least one tenant or pattern");
}

void describe(Settings& s, TokenStoreSettings& c) {
  s.choice("kind", c.kind,
           {{"sqlite", TokenStoreKind::kSqlite},
            {"postgres", TokenStoreKind::kPostgres},
            {"redis", TokenStoreKind::kRedis},
            {"memory", TokenStoreKind::kMemory}},
           "where the place of each sink is kept; memory forgets it at the end");
  s.section("sqlite", [&] { s.text("path", c.sqlite.path, "file; its folder must exist"); });
  s.section("postgres", [&] {
    s.secret("uri", c.postgres.uri, "postgres://user:password@host:port/database");
    s.duration("connect_timeout", c.postgres.connect_timeout, "time to connect", 1s);
    s.duration("statement_timeout", c.postgres.statement_timeout, "longest statement", 100ms);
    s.require(c.kind != TokenStoreKind::kPostgres || !c.postgres.uri.empty(), "uri", "must be set for kind postgres");
    if (!c.postgres.uri.empty()) s.require(check_postgres_uri(c.postgres.uri), "uri");
  });
  s.section("redis", [&] {
    describe_redis(s, c.redis.connection, {"username", "timeout"});
    if (c.kind == TokenStoreKind::kRedis) {
      const auto faults = redis::faults_of(c.redis.connection);
      for (const auto& [key, text] : faults) s.require(false, key, text);
      if (faults.empty()) s.require(redis::check(c.redis.connection), "tls");
    }
    s.text("prefix", c.redis.prefix, "first part of all keys");
  });
}

void describe(Settings& s, WorkerSettings& c) {
  s.section("batch", [&] {
    s.integer("events_max", c.batch.items_max, "events handed to the sink at once", size_t{1}, size_t{100'000});
    s.bytes("bytes_max", c.batch.bytes_max, "bytes handed to the sink at once", 1024);
    s.duration("linger", c.batch.linger, "how long a batch waits for more events", 0ms, 60s);
  });
  s.section("commit", [&] {
    s.integer("events_max", c.commit.events_max, "acknowledged events after which cursors are committed", size_t{1});
    s.duration("interval", c.commit.interval, "how long an acknowledged event waits for its commit, at most", 1ms);
    s.duration("idle", c.commit.idle, "... when nothing more comes", 0ms);
    s.duration("progress_interval", c.commit.progress_interval, "how often progress alone is committed", 10ms);
    s.integer("uncommitted_max", c.commit.uncommitted_max, "the sink waits for the token store beyond this many",
              size_t{1});
    s.section("retry", [&] { describe(s, c.commit.retry); });
  });
  s.section("retry", [&] { describe(s, c.retry); });
  s.choice(
      "on_poison", c.on_poison,
      {{"gap", PoisonPolicy::kGap}, {"stop", PoisonPolicy::kStop}, {"dead_letter_file", PoisonPolicy::kDeadLetterFile}},
      "an event the sink can never accept, behind a GAP event in its place: go on, stop its tenant, or keep it in a "
      "file");
  s.text("dead_letter_file", c.dead_letter_file, "path of that file");
  s.bytes("catch_up_bytes", c.catch_up_bytes, "read ahead while the sink catches up", 64 << 10);
  s.require(c.on_poison != PoisonPolicy::kDeadLetterFile || !c.dead_letter_file.empty(), "dead_letter_file",
            "must be set for on_poison dead_letter_file");
}

void describe(Settings& s, sinks::EncodingSettings& c) {
  s.text("cluster", c.cluster, "part of the source attribute of events");
  s.choice("format", c.format,
           {{"protobuf", sinks::PayloadFormat::kProtobuf},
            {"json", sinks::PayloadFormat::kJson},
            {"confluent", sinks::PayloadFormat::kConfluent}},
           "of the payload");
  s.integer("schema_id", c.schema_id, "of the schema registry, for format confluent", 0u);
  s.section("schema_registry", [&] {
    sinks::SchemaRegistrySettings& r = c.registry;
    s.text("url", r.url, "http(s)://host:port of a registry that gives schema_id; empty asks none");
    s.text("subject", r.subject, "the schema is registered under");
    s.text("user", r.user, "of the registry; empty sends none");
    s.secret("password", r.password, "of the user");
    s.text("ca_file", r.ca_file, "path of the authorities; empty takes the system's");
    s.duration("timeout", r.timeout, "time to connect, and time for the answer", 100ms);
  });
  s.text("dataschema", c.dataschema, "attribute of events; empty names headgate.v1.Event, none leaves it out");
}

void describe(Settings& s, sinks::HeartbeatSettings& c) {
  s.choice("scope", c.scope,
           {{"off", sinks::HeartbeatScope::kOff},
            {"sink", sinks::HeartbeatScope::kSink},
            {"tenant", sinks::HeartbeatScope::kTenant}},
           "one for the whole sink (on Kafka one in each partition), or one for each tenant");
  s.duration("interval", c.interval, "between two of them", 100ms);
}

void describe(Settings& s, SinkConfig& c) {
  Settings::Words words;
  for (const sinks::KindEntry& kind : sinks::sink_kinds()) words.emplace_back(kind.word);
  s.text("name", c.settings.name, "unique in this relay; part of the cursor's key");
  s.choice("kind", c.kind, words, "what it is");
  s.require(!c.settings.name.empty(), "name", "must be set");
  s.require(!c.kind.empty(), "kind", "must be set");
  const sinks::KindEntry* kind = sinks::find_kind(c.kind);
  if (kind != nullptr && c.settings.kind.index() != kind->defaults.index()) c.settings.kind = kind->defaults;
  describe(s, c.settings.encoding);
  s.section("heartbeat", [&] { describe(s, c.settings.heartbeat); });
  describe(s, c.worker);
  if (kind != nullptr) describe_kind(s, c.settings.kind);
  if (kind == nullptr || !s.checks() || c.settings.name.empty()) return;
  // What a start would refuse, all of it.
  for (const sinks::SinkFault& fault : sinks::check_sink(c.settings)) {
    s.require(false, fault.key, fmt::format("of sink '{}': {}", c.settings.name, fault.text));
  }
}

}  // namespace

void describe(Settings& s, RelayConfig& c) {
  s.text("name", c.name, "of this relay; cursors are kept under it");
  s.require(!c.name.empty(), "name", "must be set");
  s.section("upstream", [&] { describe(s, c, c.upstream); });
  s.section("tenants", [&] { describe(s, c.delivery.session); });
  s.section("tokens", [&] { describe(s, c.tokens); });
  s.section("hub", [&] { s.bytes("bytes", c.delivery.hub_bytes, "recent events kept in memory", 64 << 10); });
  s.sections("sinks", c.sinks, [](Settings& inner, SinkConfig& sink) { describe(inner, sink); });
  std::set<std::string> names;
  for (size_t i = 0; i < c.sinks.size(); ++i) {
    const std::string& name = c.sinks[i].settings.name;
    s.require(name.empty() || names.insert(name).second, fmt::format("sinks.{}.name", i),
              fmt::format("'{}' is the name of another sink too", name));
  }
  s.require(!c.sinks.empty(), "sinks", "must hold at least one sink");
  s.duration("drain_timeout", c.drain_timeout, "time that sinks get at shutdown to deliver what was read");
  s.section("admin", [&] {
    s.text("address", c.admin.address, "where probes, status and metrics are served over HTTP");
    s.integer("port", c.admin.port, "port of HTTP; 0 takes any free one", 0, 65535);
    s.secret("token", c.admin.token,
             "bearer token that POST needs; without one POST works on a loopback address alone");
  });
  s.section("log", [&] {
    s.choice("level", c.log.level, Settings::Words{"trace", "debug", "info", "warn", "error", "off"},
             "least severe level that is written");
    s.choice("format", c.log.format, Settings::Words{"text", "json"}, "how a record looks");
  });
}

Status load_config(const std::string& file, const std::map<std::string, std::string>& environment, RelayConfig& config,
                   std::vector<std::string>* warnings) {
  SettingsSource source;
  source.file = file;
  source.env_prefix = kEnvironmentPrefix;
  source.environment = environment;
  HG_RETURN_IF_ERROR(load_settings([&](Settings& s) { describe(s, config); }, source, warnings));
  config.tokens.scope = config.name;
  for (SinkConfig& sink : config.sinks) sink.worker.source_event_bytes = config.source_event_bytes;
  return ok_status();
}

std::string config_reference() {
  RelayConfig config;
  std::string out = settings_reference([&](Settings& s) { describe(s, config); }, kEnvironmentPrefix);
  for (const sinks::KindEntry& kind : sinks::sink_kinds()) {
    std::vector<sinks::KindSettings> one = {kind.defaults};
    if (std::holds_alternative<sinks::StdoutSettings>(kind.defaults)) continue;
    out += fmt::format("\nA sink of kind {} has these as well:\n\n", kind.word);
    out += settings_reference([&](Settings& s) { s.sections("sinks", one, describe_kind); }, kEnvironmentPrefix);
  }
  return out;
}

ReloadRules reload_rules() {
  ReloadRules rules;
  rules.keys = {"log.level",
                "upstream.key",
                "admin.token",
                "tokens.postgres.uri",
                "sinks.*.token",
                "sinks.*.options",
                "sinks.*.schema_registry.user",
                "sinks.*.schema_registry.password"};
  rules.keys.insert({"tokens.redis.username", "sinks.*.user"});
  rules.files = {"sinks.*.credentials_file", "sinks.*.options", "sinks.*.schema_registry.ca_file"};
  for (const char* key : {"password", "sentinel_user", "sentinel_password"}) {
    rules.keys.insert(fmt::format("tokens.redis.{}", key));
    rules.keys.insert(fmt::format("sinks.*.{}", key));
  }
  for (const char* key : {"tls_ca_file", "tls_cert_file", "tls_key_file"}) {
    rules.files.insert(fmt::format("tokens.redis.{}", key));
    rules.files.insert(fmt::format("sinks.*.{}", key));
  }
  rules.keys.insert(rules.files.begin(), rules.files.end());
  rules.identity = {"sinks.*.name", "sinks.*.kind"};
  // Another place would be another store, which this relay does not own.
  rules.allows = [](const std::string& path, const std::string& before, const std::string& after) {
    return path != "tokens.postgres.uri" || same_postgres_place(before, after);
  };
  return rules;
}

std::string print_config(RelayConfig config) {
  return print_settings([&](Settings& s) { describe(s, config); });
}

}  // namespace headgate::relay
