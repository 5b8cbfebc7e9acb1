#include "relay/delivery/distributor.h"

#include <pthread.h>

#include <algorithm>

#include "base/log.h"

namespace headgate::relay {

namespace {

// The sink whose place the main session takes: the one that has come farthest. -1 when all are new.
int most_advanced(const std::vector<SinkPlace>& places) {
  int best = -1;
  for (size_t i = 0; i < places.size(); ++i) {
    if (places[i].fresh()) continue;
    if (best < 0 || places[i].progress().position > places[best].progress().position) best = static_cast<int>(i);
  }
  return best;
}

}  // namespace

Distributor::Distributor(Parts parts, DistributorSettings settings)
    : parts_(parts), settings_(std::move(settings)), hub_(settings_.hub_bytes) {}

Distributor::~Distributor() { stop(Duration(0)); }

std::unique_ptr<Session> Distributor::make_session(Hub& hub, SourcePlace start, const std::string& name) {
  return std::make_unique<Session>(Session::Parts{parts_.upstream, hub, parts_.budget, parts_.clock, parts_.metrics},
                                   settings_.session, name, std::move(start));
}

Status Distributor::start(std::vector<SinkPart> sinks, const Fence& fence) {
  std::vector<SinkPlace> places;
  for (const SinkPart& part : sinks) {
    HG_ASSIGN_OR_RETURN(auto stored, parts_.store.load(part.sink->info().name));
    places.emplace_back(stored, names_);
    if (!part.sink->info().keeps_place && !places.back().ended_well()) {
      places.back().doubt_last_events(static_cast<uint64_t>(parts_.clock.unix_micros()));
    }
  }
  const int leader = most_advanced(places);
  const SourcePlace start = leader < 0 ? SourcePlace{} : places[leader].source_place();
  session_ = make_session(hub_, start, "main");
  const CatchUp::MakeSession make = [this](Hub& hub, SourcePlace place, const std::string& name) {
    return make_session(hub, std::move(place), name);
  };
  for (size_t i = 0; i < sinks.size(); ++i) {
    const bool new_at_head = places[i].fresh() && settings_.session.default_start == StartPolicy::kHead;
    if (new_at_head) places[i].begin_at_head();
    const bool joins = leader < 0 || new_at_head || places[i].source_place().same_as(start);
    SinkWorker::Parts parts{parts_.store, hub_, parts_.clock, parts_.metrics, make, fence};
    sinks[i].settings.tenants = settings_.session.tenants;
    workers_.push_back(std::make_unique<SinkWorker>(std::move(parts), sinks[i].settings, std::move(sinks[i].sink)));
    workers_.back()->start(std::move(places[i]), joins ? hub_.attach() : nullptr);
  }
  session_thread_ = std::jthread([this](std::stop_token stop) { session_->run(stop); });
  pthread_setname_np(session_thread_.native_handle(), "source");
  return ok_status();
}

void Distributor::stop(Duration drain) {
  session_thread_.request_stop();
  for (const auto& worker : workers_) worker->drain();
  // Before the thread is waited for: whatever it still publishes is refused instead of waiting for readers.
  hub_.close();
  if (session_thread_.joinable()) session_thread_.join();
  const MonotonicTime deadline = std::chrono::steady_clock::now() + drain;
  const auto all_finished = [this] {
    return std::all_of(workers_.begin(), workers_.end(), [](const auto& worker) { return worker->finished(); });
  };
  while (!all_finished() && std::chrono::steady_clock::now() < deadline) {
    system_clock().sleep(Duration(2), {});
  }
  for (const auto& worker : workers_) worker->request_stop();
  for (const auto& worker : workers_) worker->join();
}

std::vector<SinkStatus> Distributor::sinks() const {
  std::vector<SinkStatus> all;
  for (const auto& worker : workers_) all.push_back(worker->status());
  return all;
}

Status Distributor::resume(const ResumeOrder& order) {
  const std::string& sink = order.sink;
  bool known = sink.empty();
  Status refused;
  bool resumed = false;
  for (const auto& worker : workers_) {
    if (!sink.empty() && worker->status().name != sink) continue;
    known = true;
    const Status status = worker->resume(order);
    resumed |= status.ok();
    if (!status.ok()) refused = status;
  }
  if (!known) return make_status(StatusCode::kNotFound, fmt::format("there is no sink '{}'", sink));
  if (!resumed) return refused;
  session_->resume(order);
  return ok_status();
}

std::vector<TenantStatus> Distributor::tenants(const TenantQuery& query) const {
  std::vector<TenantStatus> all;
  for (const auto& worker : workers_) {
    for (TenantStatus& line : worker->tenants(query)) all.push_back(std::move(line));
  }
  std::sort(all.begin(), all.end(), [](const TenantStatus& a, const TenantStatus& b) {
    return std::tie(a.tenant, a.sink) < std::tie(b.tenant, b.sink);
  });
  return all;
}

bool Distributor::fenced() const {
  return std::any_of(workers_.begin(), workers_.end(),
                     [](const auto& worker) { return worker->status().state == SinkState::kFenced; });
}

}  // namespace headgate::relay
