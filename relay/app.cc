#include "relay/app.h"

#include <unistd.h>

#include <algorithm>
#include <set>

#include "base/http_server.h"
#include "base/log.h"
#include "base/memory_limit.h"
#include "base/metrics.h"
#include "base/refusals.h"
#include "relay/admin/pages.h"
#include "relay/delivery/distributor.h"
#include "sinks/replaceable_sink.h"

namespace headgate::relay {

namespace {

constexpr Duration kReadyHold{10'000};
// What the last commits get behind drain_timeout; less than the last resort, which would end the process with an error.
constexpr Duration kCommitGrace{5'000};

std::string owner_name() {
  char host[256] = "unknown";
  gethostname(host, sizeof(host) - 1);
  return fmt::format("{}/{}", host, getpid());
}

std::vector<std::string> names_of(const std::vector<SinkConfig>& sinks) {
  std::vector<std::string> names;
  for (const SinkConfig& sink : sinks) names.push_back(sink.settings.name);
  return names;
}

// The numbers of those sinks that one of the paths belongs to.
std::set<size_t> sinks_in(const std::vector<std::string>& paths) {
  constexpr std::string_view kSinks = "sinks.";
  std::set<size_t> numbers;
  for (const std::string& path : paths) {
    if (path.rfind(kSinks, 0) == 0) numbers.insert(std::stoul(path.substr(kSinks.size())));
  }
  return numbers;
}

bool names(const std::vector<std::string>& paths, std::string_view part) {
  return std::any_of(paths.begin(), paths.end(), [&](const std::string& path) { return path.rfind(part, 0) == 0; });
}

StatusOr<std::unique_ptr<sinks::Sink>> make_named_sink(const sinks::SinkSettings& settings) {
  auto made = sinks::make_sink(settings);
  if (made.ok()) return made;
  const std::string name = fmt::format("sink '{}': ", settings.name);
  const std::string text = message_of(made.status());
  return make_status(made.status().code(), text.rfind(name, 0) == 0 ? text : name + text);
}

// Repeating the attempt cannot help.
bool is_final(const Status& status) { return status.code() == StatusCode::kInvalidArgument; }

}  // namespace

// Members are destroyed in reverse: HTTP, which reads everything, goes first.
struct App::Parts : RelayView, RelayControl {
  Parts(const RelayConfig& config, const BuildInfo& build)
      : name(config.name),
        version(build.version),
        source_event_bytes(config.source_event_bytes),
        started_us(system_clock().unix_micros()),
        phase_since_us(started_us),
        live(config),
        budget(config.connections_per_second, config.connections_burst, system_clock()),
        http({.address = config.admin.address, .port = config.admin.port}) {
    add_process_metrics(metrics, build);
    add_gauges(metrics, *this, names_of(config.sinks));
    for (size_t i = 0; i < config.sinks.size(); ++i) renewed.push_back(std::make_shared<sinks::Replacement>());
    add_pages(http, *this, *this, metrics, readiness, [this] {
      MutexLock lock(mutex);
      return AdminAccess{.token = live.admin.token, .loopback = is_loopback(live.admin.address)};
    });
  }

  RelayReport report() const override {
    MutexLock lock(mutex);
    RelayReport made;
    made.name = name;
    made.version = version;
    made.phase = phase;
    made.phase_error = phase_error;
    made.since_us = phase_since_us;
    made.started_us = started_us;
    made.now_us = system_clock().unix_micros();
    made.epoch = fence.epoch;
    made.source_event_bytes = source_event_bytes;
    if (distributor == nullptr) return made;
    if (source_event_bytes == 0) made.source_event_bytes = distributor->hub().event_bytes_max();
    made.fenced = distributor->fenced();
    made.source = distributor->source();
    made.hub_bytes = distributor->hub().bytes();
    made.hub_bytes_max = distributor->hub_bytes_max();
    made.hub_blocked = distributor->hub().blocked();
    made.sinks = distributor->sinks();
    return made;
  }
  std::vector<TenantStatus> tenants(const TenantQuery& query) const override {
    MutexLock lock(mutex);
    return distributor == nullptr ? std::vector<TenantStatus>{} : distributor->tenants(query);
  }
  Status resume(const ResumeOrder& order) override {
    MutexLock lock(mutex);
    if (distributor == nullptr) return unavailable("the relay does not deliver: {}", phase);
    return distributor->resume(order);
  }
  void enter(const std::string& to, const std::string& error = "") {
    MutexLock lock(mutex);
    phase_error = error;
    if (phase == to) return;
    phase = to;
    phase_since_us = system_clock().unix_micros();
  }

  // Stays alive until run()'s thread, which alone asks, lets it go.
  Distributor* running() const {
    MutexLock lock(mutex);
    return distributor.get();
  }
  TokenStore* tokens() const {
    MutexLock lock(mutex);
    return store.get();
  }
  TokenStore* keep(std::unique_ptr<TokenStore> made) {
    MutexLock lock(mutex);
    store = std::move(made);
    store->reconnect(live.tokens);  // which may have been renewed while it was made
    return store.get();
  }
  Upstream& source() const {
    MutexLock lock(mutex);
    return *upstream;
  }
  RelayConfig settings() const {
    MutexLock lock(mutex);
    return live;
  }
  Fence owned() const {
    MutexLock lock(mutex);
    return fence;
  }

  const std::string name;
  const std::string version;
  const size_t source_event_bytes;
  const int64_t started_us;
  Metrics metrics;
  const MemoryWatch memory;  // what the relay holds is bounded by its settings; this says when that is too much
  Readiness readiness{system_clock(), kReadyHold};

  mutable Mutex mutex;
  std::string phase GUARDED_BY(mutex) = "waiting_for_token_store";
  std::string phase_error GUARDED_BY(mutex);
  int64_t phase_since_us GUARDED_BY(mutex);
  Fence fence GUARDED_BY(mutex);
  RelayConfig live GUARDED_BY(mutex);  // with what reload() has taken over

  TokenBucket budget;
  std::stop_source tokens_stop;                              // of whatever the token store waits for
  std::vector<std::shared_ptr<sinks::Replacement>> renewed;  // of each sink
  std::unique_ptr<Upstream> upstream GUARDED_BY(mutex);      // set by run()'s thread alone, as the store
  std::unique_ptr<TokenStore> store GUARDED_BY(mutex);
  std::unique_ptr<Distributor> distributor GUARDED_BY(mutex);  // set once it runs
  HttpServer http;
};

App::App(RelayConfig config, BuildInfo build)
    : config_(std::move(config)), build_(std::move(build)), parts_(std::make_unique<Parts>(config_, build_)) {}

App::~App() = default;

Status App::run(std::stop_token stop, const std::function<void(int http_port)>& on_listening) {
  HG_RETURN_IF_ERROR(make_sinks().status());
  {
    MutexLock lock(parts_->mutex);
    HG_ASSIGN_OR_RETURN(parts_->upstream, make_upstream(parts_->live.upstream, parts_->budget, system_clock()));
  }
  HG_RETURN_IF_ERROR(parts_->http.start());
  on_listening(parts_->http.port());
  const Status status = serve(stop);
  shut_down();
  return status;
}

void App::reload(const RelayConfig& config, const std::vector<std::string>& taken) {
  MutexLock lock(parts_->mutex);
  parts_->live = config;
  if (parts_->upstream != nullptr && names(taken, "upstream.key")) parts_->upstream->set_key(config.upstream.key);
  if (parts_->store != nullptr && names(taken, "tokens.")) parts_->store->reconnect(config.tokens);
  for (const size_t i : sinks_in(taken)) {
    auto sink = make_named_sink(config.sinks[i].settings);
    if (sink.ok()) {
      parts_->renewed[i]->set(*std::move(sink));
    } else {
      log_error("sink_not_renewed", {{"error", describe(sink.status())}, {"help", "it goes on as it was"}});
    }
  }
}

StatusOr<std::vector<SinkPart>> App::make_sinks() {
  std::vector<SinkPart> made;
  const RelayConfig config = parts_->settings();
  for (size_t i = 0; i < config.sinks.size(); ++i) {
    const SinkConfig& sink = config.sinks[i];
    HG_ASSIGN_OR_RETURN(auto one, make_named_sink(sink.settings));
    WorkerSettings worker = sink.worker;
    worker.heartbeat = sink.settings.heartbeat;
    made.push_back({sinks::make_replaceable_sink(std::move(one), parts_->renewed[i]), std::move(worker)});
  }
  return made;
}

Status App::serve(std::stop_token stop) {
  const Status status = own_tokens(stop);
  if (!status.ok()) return status.code() == StatusCode::kCancelled ? ok_status() : status;
  parts_->enter("running");
  log_info("running", {{"name", config_.name}, {"epoch", parts_->owned().epoch}, {"sinks", config_.sinks.size()}});
  while (system_clock().sleep(Duration(3'600'000), stop)) {
  }
  return ok_status();
}

// Takes the token store over and starts the delivery; repeats that while the store is away.
Status App::own_tokens(std::stop_token stop) {
  constexpr Duration kTellAgain{60'000};
  Backoff backoff({Duration(100), Duration(5'000)}, random_seed());
  std::string told;
  MonotonicTime told_at{};
  const std::stop_callback leave(stop, [this] { parts_->tokens_stop.request_stop(); });
  for (;;) {
    const Status status = own_tokens_once();
    if (stop.stop_requested()) return make_status(StatusCode::kCancelled, "stopped");
    if (status.ok() || is_final(status)) return status;
    const std::string why = described_refusal(status);
    if (why != told || system_clock().now() - told_at > kTellAgain) {
      log_warn("waiting_for_token_store", {{"error", why}, {"attempts", backoff.attempts() + 1}});
      told = why;
      told_at = system_clock().now();
    }
    parts_->enter("waiting_for_token_store", why);
    if (!system_clock().sleep(backoff.next(), stop)) return make_status(StatusCode::kCancelled, "stopped");
  }
}

Status App::own_tokens_once() {
  TokenStore* store = parts_->tokens();
  if (store == nullptr) {
    HG_ASSIGN_OR_RETURN(auto made, make_token_store(parts_->settings().tokens, parts_->tokens_stop.get_token()));
    store = parts_->keep(std::move(made));
  }
  HG_ASSIGN_OR_RETURN(const Fence fence, store->acquire(owner_name()));
  HG_ASSIGN_OR_RETURN(std::vector<SinkPart> sinks, make_sinks());
  auto distributor = std::make_unique<Distributor>(
      Distributor::Parts{parts_->source(), *store, system_clock(), parts_->metrics, parts_->budget}, config_.delivery);
  HG_RETURN_IF_ERROR(distributor->start(std::move(sinks), fence));
  MutexLock lock(parts_->mutex);
  parts_->fence = fence;
  parts_->distributor = std::move(distributor);
  return ok_status();
}

void App::shut_down() {
  parts_->enter("stopping");
  if (Distributor* const running = parts_->running()) {
    const std::jthread limit([this](std::stop_token done) {
      if (system_clock().sleep(config_.drain_timeout + kCommitGrace, done)) parts_->tokens_stop.request_stop();
    });
    running->stop(config_.drain_timeout);
  }
  log_info("stopped", {{"name", config_.name}});
  parts_->http.stop();
  MutexLock lock(parts_->mutex);
  parts_->distributor.reset();
  parts_->store.reset();
}

}  // namespace headgate::relay
