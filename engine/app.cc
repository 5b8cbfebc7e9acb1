#include "engine/app.h"

#include <nlohmann/json.hpp>

#include "base/backoff.h"
#include "base/http_server.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/postgres/sessions.h"
#include "engine/api/health.h"
#include "engine/api/server.h"
#include "engine/api/services.h"
#include "engine/app_metrics.h"
#include "engine/check/check_service.h"
#include "engine/check/rules.h"
#include "engine/feed/feed.h"
#include "engine/gc/collector.h"
#include "engine/part_settings.h"
#include "engine/storage/migrations.h"
#include "engine/storage/postgres_datastore.h"
#include "engine/watch/watch_service.h"
#include "engine/write/write_service.h"

namespace headgate::engine {
namespace {

using SteadyClock = std::chrono::steady_clock;

// An engine whose own port leaves it without an answer for so long is not ready.
constexpr Duration kSelfCallMax{1'000};
constexpr Duration kDeafMax{3'000};

HttpResponse probe(bool good, const std::string& reason) {
  return {good ? 200 : 503, "text/plain; charset=utf-8", good ? "ok\n" : reason + "\n"};
}

}  // namespace

// In the order of construction; members die before what they use.
struct App::Parts {
  Parts(const EngineConfig& config, const Authenticator& authenticator)
      : admin({.address = config.admin.address, .port = config.admin.port}),
        pool(std::make_shared<Pool>(pool_settings(config))),
        probe_pool(probe_settings(config.database)),
        workers(config.server.workers, config.server.waiting_max, config.server.waiting_bytes_max),
        admission(authenticator, admitted, &memory),
        calls(workers, admission),
        health([this] { return ask_parts(); }, system_clock()) {}

  // Whether calls can be served: the database, the feed, and the way to gRPC's port.
  Status ask_parts() {
    const Status answered = probe_pool.run([](pqxx::connection_base& connection) {
      pqxx::nontransaction(connection).exec("SELECT 1");
      return ok_status();
    });
    pool->make_room_after(answered);
    HG_RETURN_IF_ERROR(answered);
    if (feed != nullptr && !feed->ready()) {
      const Status why = pool->refused_lately();
      return unavailable("the feed has no connection to the database{}{}", why.ok() ? "" : ": ", message_of(why));
    }
    HG_RETURN_IF_ERROR(pool->check());
    return self_call->ask_patiently(kSelfCallMax, kDeafMax);
  }

  ListenerStats connections() const {
    // As below.
    return health.ever_served() && server != nullptr ? server->connections() : ListenerStats();
  }

  CallLoad load() const {
    CallLoad load{static_cast<size_t>(workers.busy()), workers.waiting(), static_cast<size_t>(pool->in_use())};
    // Built after the admin server has started; ready tells that it is there for good.
    if (!health.ever_served() || store.writer == nullptr) return load;
    const WriterLoad writes = store.writer->load();
    load.running += writes.running;
    load.waiting += writes.waiting;
    load.connections_in_use += writes.running;
    return load;
  }

  const SteadyClock::time_point started = SteadyClock::now();
  Metrics metrics;
  HttpServer admin;
  std::shared_ptr<Pool> pool;
  Pool probe_pool;
  Datastore store;
  std::unique_ptr<SchemaCache> schemas;
  std::unique_ptr<HeadReader> head_reader;
  std::unique_ptr<HeadKeeper> heads;  // of a process that checks
  std::unique_ptr<BatchReader> batches;
  std::unique_ptr<RuleEvaluator> rules;
  std::unique_ptr<CheckService> checks;
  std::unique_ptr<WriteService> writes;
  std::unique_ptr<Feed> feed;
  std::unique_ptr<SnapshotReader> snapshots;
  std::unique_ptr<WatchServices> watch;
  std::unique_ptr<Collector> collector;
  WorkerPool workers;
  AdmittedCalls admitted;
  MemoryWatch memory;
  CallAdmission admission;
  CallRunner calls;
  std::vector<std::unique_ptr<grpc::Service>> owned_services;
  std::vector<grpc::Service*> services;
  std::vector<std::string> service_names;
  std::shared_ptr<SelfCall> self_call;  // set before the health checker starts
  HealthChecker health;
  std::unique_ptr<ApiServer> server;

  void add(const std::string& name, grpc::Service& service) {
    services.push_back(&service);
    service_names.push_back(name);
  }
  void add(const std::string& name, std::unique_ptr<grpc::Service> service) {
    add(name, *service);
    owned_services.push_back(std::move(service));
  }
};

App::App(EngineConfig config, BuildInfo build)
    : config_(std::move(config)),
      build_(std::move(build)),
      authenticator_(std::make_unique<Authenticator>(accepted_keys(config_.authn))),
      parts_(std::make_unique<Parts>(config_, *authenticator_)) {}

// The admin server looks at parts that die before it.
App::~App() {
  if (parts_ != nullptr) parts_->admin.stop();
}

Status App::run(std::stop_token stop, const std::function<void(const AppPorts&)>& on_ports) {
  stop_ = stop;
  add_routes();
  HG_RETURN_IF_ERROR(parts_->admin.start());
  on_ports({0, parts_->admin.port()});
  const Status prepared = prepare_database(stop);
  if (stop.stop_requested()) return ok_status();
  HG_RETURN_IF_ERROR(prepared);
  HG_RETURN_IF_ERROR(build());
  HG_RETURN_IF_ERROR(listen());
  on_ports({parts_->server->port(), parts_->admin.port()});
  std::mutex mutex;
  std::condition_variable_any stopped;
  std::unique_lock lock(mutex);
  stopped.wait(lock, stop, [] { return false; });
  shut_down();
  return ok_status();
}

void App::reload(const EngineConfig& config) { authenticator_->replace(accepted_keys(config.authn)); }

Status App::prepare_database(std::stop_token stop) {
  Backoff backoff({.initial = Duration(200), .max = Duration(5'000)}, random_seed());
  const std::stop_callback on_stop(stop, [this] { parts_->pool->stop(); });
  const Duties duties{config_.has_role("write"), config_.has_role("watch"), config_.gc.enabled};
  for (;;) {
    MigrationSettings settings;
    settings.uri = config_.database.uri;
    settings.connect_timeout = config_.database.connect_timeout;
    settings.duties = duties;
    Status status = config_.database.auto_migrate ? migrate_database(settings, stop) : check_database(settings, stop);
    // Behind a pooler that lends by transaction the engine would be ready, and most of its writes would fail.
    if (status.ok()) status = check_sessions({config_.database.uri, config_.database.connect_timeout}, stop);
    // Somebody's lock goes like an outage does.
    const bool passes = status.code() == StatusCode::kUnavailable || status.code() == StatusCode::kDeadlineExceeded;
    if (!passes) return status;
    log_warn("database_away", {{"error", message_of(status)}, {"attempt", backoff.attempts() + 1}});
    if (!system_clock().sleep(backoff.next(), stop)) return ok_status();
  }
}

Status App::build() {
  Parts& parts = *parts_;
  DatastoreSettings settings;
  settings.retries_max = config_.database.max_retries;
  settings.deletion_rows_max = static_cast<size_t>(config_.database.max_data_per_delete);
  settings.lane = {config_.server.waiting_max, config_.server.waiting_bytes_max};
  HG_ASSIGN_OR_RETURN(parts.store, make_postgres_datastore(parts.pool, settings));
  build_feed();
  parts.schemas = std::make_unique<SchemaCache>(*parts.store.schemas);
  const WriteSettings limits{static_cast<size_t>(config_.database.max_data_per_write),
                             config_.limits.attribute_json_bytes_max};
  parts.writes = std::make_unique<WriteService>(parts.store, *parts.schemas, limits, [&parts](uint64_t) {
    if (parts.feed != nullptr) parts.feed->wake();
    if (parts.heads != nullptr) parts.heads->wrote();
  });
  const PageLimits pages{config_.limits.page_size_default, config_.limits.page_size_max};
  if (config_.has_role("write")) {
    Datastore& store = parts.store;
    const auto add = [&parts](const char* name, auto make, auto methods) {
      parts.add(name, make(parts.calls, std::move(methods)));
    };
    const auto written = [&parts] {
      if (parts.heads != nullptr) parts.heads->wrote();
    };
    add("base.v1.Tenancy", make_tenancy_service, make_tenancy_methods(parts.metrics, *store.tenants, pages, written));
    add("base.v1.Schema", make_schema_service, make_schema_methods(parts.metrics, *store.schemas, pages, written));
    add("base.v1.Bundle", make_bundle_service, make_bundle_methods(parts.metrics, *parts.writes, *store.bundles));
    add("base.v1.Data", make_data_service, make_data_methods(parts.metrics, *parts.writes, *store.reader, pages));
  }
  build_checks();
  return ok_status();
}

void App::build_checks() {
  if (!config_.has_role("check")) return;
  Parts& parts = *parts_;
  parts.head_reader = make_head_reader(parts.pool);
  parts.heads = std::make_unique<HeadKeeper>(*parts.head_reader, config_.check.max_staleness);
  parts.batches = make_batch_reader(parts.pool);
  parts.rules = make_rule_evaluator();
  parts.checks = std::make_unique<CheckService>(*parts.batches, *parts.heads, *parts.schemas, *parts.rules,
                                                check_settings(config_));
  parts.add("base.v1.Permission",
            make_permission_service(parts.calls, make_permission_methods(parts.metrics, *parts.checks)));
}

void App::build_feed() {
  Parts& parts = *parts_;
  if (config_.has_role("watch")) {
    FeedSettings feed = feed_settings(config_.feed);
    feed.connections_scarce = [pool = parts.pool] { return pool->scarce(); };
    parts.feed = std::make_unique<Feed>(history_opener(config_.database, stop_, parts.pool), feed);
    WatchSettings settings = watch_settings(config_);
    settings.calls = &parts.calls;
    parts.snapshots = make_snapshot_reader(parts.pool);
    settings.read_snapshot =
        make_snapshot_method(parts.metrics, *parts.snapshots, [&parts] { return parts.feed->position(); });
    parts.watch = make_watch_services(*parts.feed, settings);
    add_feed_metrics(parts.metrics, *parts.feed, *parts.watch);
    parts.add("base.v1.Watch", parts.watch->watch());
    parts.add("headgate.v1.Feed", parts.watch->feed());
  }
  // A process with streams publishes what they still read, also when it does not collect itself.
  if (parts.feed == nullptr && !config_.gc.enabled) return;
  parts.collector = std::make_unique<Collector>(gc_settings(config_, parts.pool), [&parts] {
    std::map<std::string, uint64_t> holds;
    const uint64_t lowest = parts.feed == nullptr ? UINT64_MAX : parts.feed->lowest_live_xid();
    if (lowest != UINT64_MAX) holds[""] = lowest;
    return holds;
  });
  parts.collector->start();
}

Status App::listen() {
  Parts& parts = *parts_;
  ServerSettings settings = server_settings(config_);
  settings.admitted = &parts.admitted;
  settings.memory = &parts.memory;
  HG_ASSIGN_OR_RETURN(parts.server, ApiServer::start(settings, parts.services));
  parts.self_call = parts.server->self_call();
  parts.health.start(parts.server->health(), parts.service_names);
  return ok_status();
}

void App::shut_down() {
  const ServerConfig& limits = config_.server;
  log_info("stopping");
  parts_->health.stop();
  if (parts_->watch != nullptr) parts_->watch->drain(limits.drain_window);
  parts_->server->stop(limits.shutdown_timeout);
  parts_->admin.stop();
  parts_.reset();
  log_info("stopped");
}

void App::add_routes() {
  HttpServer& admin = parts_->admin;
  Parts& parts = *parts_;
  add_process_metrics(parts.metrics, build_);
  add_call_metrics(
      parts.metrics, [&parts] { return parts.load(); }, *parts.pool, parts.health);
  add_http_metrics(parts.metrics, admin);
  add_connection_metrics(parts.metrics, [&parts] { return parts.connections(); });
  admin.route("/livez", [](const HttpRequest&) { return probe(true, ""); });
  admin.route("/readyz", [&parts](const HttpRequest&) { return probe(parts.health.serving(), parts.health.reason()); });
  admin.route("/startupz", [&parts](const HttpRequest&) { return probe(parts.health.ever_served(), "starting"); });
  admin.route("/metrics", [&parts](const HttpRequest&) {
    return HttpResponse{200, Metrics::content_type(), parts.metrics.exposition()};
  });
  admin.route("/status", [this](const HttpRequest&) { return HttpResponse{200, "application/json", status_json()}; });
}

std::string App::status_json() const {
  const Parts& parts = *parts_;
  nlohmann::ordered_json json;
  json["version"] = build_.version;
  json["commit"] = build_.commit;
  json["roles"] = config_.roles;
  json["ready"] = parts.health.serving();
  if (!parts.health.serving()) json["reason"] = parts.health.reason();
  json["uptime_s"] = std::chrono::duration_cast<std::chrono::seconds>(SteadyClock::now() - parts.started).count();
  const CallLoad load = parts.load();
  const ListenerStats connections = parts.connections();
  json["connections"] = {{"open", connections.open}, {"room", connections.room}};
  json["calls"] = {{"running", load.running}, {"waiting", load.waiting}};
  json["database"] = {{"connections", parts.pool->open()}, {"in_use", load.connections_in_use}};
  // Built after the admin server has started; ready tells that it is there for good.
  if (parts.health.ever_served() && parts.feed != nullptr) {
    json["feed"] = feed_status(parts.feed->stats(), parts.watch->stats());
  }
  return json.dump(2) + "\n";
}

}  // namespace headgate::engine
