#include "relay/delivery/session.h"

#include <algorithm>

#include "base/log.h"
#include "base/memory.h"
#include "base/snap_token.h"
#include "relay/upstream/retry_delay.h"

namespace headgate::relay {

namespace {

bool is_pattern(const std::string& text) { return text.find_first_of("*?") != std::string::npos; }

bool has_pattern(const TenantSelection& tenants) {
  return std::any_of(tenants.patterns.begin(), tenants.patterns.end(), is_pattern);
}

// The last xid before the position that the token names; 0 when it names none.
uint64_t xid_of_token(const std::string& token) {
  const StatusOr<SnapToken> decoded = decode_snap_token(token);
  return decoded.ok() ? decoded->xid : 0;
}

}  // namespace

const char* state_word(SessionStatus::State state) {
  switch (state) {
    case SessionStatus::State::kConnecting: return "connecting";
    case SessionStatus::State::kOpen: return "open";
    case SessionStatus::State::kWaiting: return "waiting";
    case SessionStatus::State::kHistoryLost: return "history_lost";
    case SessionStatus::State::kEnded: return "ended";
  }
  return "unknown";
}

Session::Session(Parts parts, SessionSettings settings, std::string name, SourcePlace start)
    : parts_(parts),
      settings_(std::move(settings)),
      name_(std::move(name)),
      backoff_(settings_.backoff, random_seed()),
      metrics_(parts_.metrics, name_ == "main" ? "main" : "catch_up"),
      place_(std::move(start)) {
  status_.since_us = parts_.clock.unix_micros();
}

void Session::run(std::stop_token stop) {
  stopping_ = stop;
  stop_tenants_of_other_history();
  while (!stop.stop_requested() && parts_.budget.take(stop)) {
    const Status status = run_once(stop);
    if (stop.stop_requested()) break;
    if (reseed_) continue;
    const Duration wait = wait_after(status);
    parts_.clock.sleep(wait, stop);
  }
  change_state(SessionStatus::State::kEnded, "");
}

Status Session::run_once(std::stop_token stop) {
  reseed_ = false;
  StatusOr<UpstreamRequest> asked = request();
  if (!asked.ok()) return asked.status();
  stream_.emplace();
  std::stop_callback link(stop, [this] { stream_->request_stop(); });
  return parts_.upstream.run(*asked, *this, stream_->get_token());
}

StatusOr<UpstreamRequest> Session::request() {
  UpstreamRequest request;
  request.tenants = settings_.tenants;
  started_fresh_ = place_.fresh();
  // A tenant that nobody told us of was created while we were away: all of its history is new to us.
  request.default_start = started_fresh_ ? settings_.default_start : StartPolicy::kEarliest;
  if (gap_for_all_) {
    request.default_start = StartPolicy::kHead;
  } else {
    request.progress_token = place_.progress.snap_token;
  }
  at_head_ = started_fresh_ && request.default_start == StartPolicy::kHead;
  request.incarnation = place_.progress.incarnation;
  std::vector<std::string> names;
  for (const std::string& pattern : settings_.tenants.patterns) {
    if (!is_pattern(pattern)) names.push_back(pattern);
  }
  if (has_pattern(settings_.tenants)) {
    StatusOr<std::vector<std::string>> listed = parts_.upstream.tenants();
    if (listed.ok()) {
      for (std::string& name : *listed) {
        if (settings_.tenants.matches(name)) names.push_back(std::move(name));
      }
    } else if (listed.status().code() != StatusCode::kUnimplemented) {
      return listed.status();
    }
  }
  for (const std::string& name : names) {
    const auto place = place_.tenants.find(name);
    if (place != place_.tenants.end() && place->second.other_history) continue;
    std::string token = place_.token_for(name);
    if (!token.empty()) request.tokens[name] = std::move(token);
  }
  for (const auto& [name, tenant] : place_.tenants) {
    const bool usable = !tenant.snap_token.empty() && !tenant.other_history;
    if (usable && settings_.tenants.matches(name)) request.tokens[name] = place_.token_for(name);
  }
  if (gap_for_all_) place_.known.insert(names.begin(), names.end());
  return request;
}

Duration Session::wait_after(const Status& status) {
  using State = SessionStatus::State;
  const Duration asked = retry_delay_of(status);
  metrics_.on_ended();
  {
    MutexLock lock(mutex_);
    ++status_.retries;
  }
  switch (reaction_to(status)) {
    case Reaction::kResync:
      history_lost(status);
      return settings_.on_gap == GapPolicy::kFromHead ? backoff_.next() : settings_.backoff.max;
    case Reaction::kStop:
      if (!status.ok()) {
        // Refused, as with a wrong key: no use in hurry, but somebody may repair it while we run.
        change_state(State::kWaiting, describe(status));
        return std::max(asked, settings_.backoff.max);
      }
      [[fallthrough]];
    default:
      change_state(State::kWaiting, status.ok() ? "the stream ended" : describe(status));
      return std::max(asked, backoff_.next());
  }
}

// The whole source has another history now: after a restore, or a fail-over that lost transactions.
void Session::history_lost(const Status& status) {
  change_state(SessionStatus::State::kHistoryLost, describe(status));
  if (settings_.on_gap == GapPolicy::kFail) {
    log_error("source_history_lost",
              {{"session", name_}, {"error", describe(status)}, {"help", "set tenants.on_gap to from_head to go on"}});
    return;
  }
  gap_for_all_ = true;
  std::set<std::string> known = std::move(place_.known);
  place_ = {};
  place_.known = std::move(known);
}

void Session::stop_tenants_of_other_history() {
  for (const auto& [name, tenant] : SourcePlace(place_).tenants) {
    if (!tenant.other_history) continue;
    on_tenant_failed(
        {name, "OTHER_INCARNATION", "its position is of another history of the source", place_.progress.snap_token});
  }
}

void Session::on_opened(const std::string& incarnation, bool ordered) {
  incarnation_ = incarnation;
  ordered_ = ordered;
  metrics_.on_opened();
  return_free_memory();
  parts_.hub.begin(incarnation, ordered, at_head_ ? Hub::kNoJoin : place_.floor());
  {
    MutexLock lock(mutex_);
    ++status_.opened;
    status_.incarnation = incarnation;
    status_.ordered = ordered;
  }
  change_state(SessionStatus::State::kOpen, "");
}

bool Session::on_events(std::vector<EventPtr> events) {
  if (reseed_) return false;
  backoff_.reset();
  std::vector<HubItem> items;
  items.reserve(events.size());
  for (EventPtr& event : events) {
    place_.passed(*event);
    items.emplace_back(std::move(event));
  }
  metrics_.on_events(items.size());
  {
    MutexLock lock(mutex_);
    status_.events += items.size();
  }
  told_readers_ = true;
  return parts_.hub.publish(std::move(items), stream_->get_token());
}

void Session::on_progress(uint64_t position, const std::string& snap_token) {
  if (reseed_) {
    // The mark would cover tenants that wait for their new start.
    stream_->request_stop();
    return;
  }
  backoff_.reset();
  const auto mark = std::make_shared<Progress>(Progress{position, snap_token, incarnation_});
  std::vector<HubItem> items;
  if (std::exchange(at_head_, false) && position > 0) parts_.hub.set_floor(position - 1);
  if (std::exchange(gap_for_all_, false)) {
    for (const std::string& name : place_.known) {
      publish_gap({name, "OTHER_INCARNATION", "the source has another history", snap_token}, items);
    }
  }
  place_.passed(*mark);
  items.emplace_back(std::shared_ptr<const Progress>(mark));
  {
    MutexLock lock(mutex_);
    status_.position = position;
  }
  // Behind events everybody is awake already, and six sinks are not to be woken twice.
  const bool quietly = std::exchange(told_readers_, false) && items.size() == 1;
  if (quietly) {
    parts_.hub.publish_quietly(std::move(items), stream_->get_token());
  } else {
    parts_.hub.publish(std::move(items), stream_->get_token());
  }
}

void Session::on_tenant_failed(const TenantFailure& failure) {
  if (!settings_.tenants.matches(failure.tenant)) return;
  TenantFailure told = failure;
  told.start_token = place_.token_for(failure.tenant);
  metrics_.on_tenant_failed();
  log_error("tenant_history_gone", {{"session", name_},
                                    {"tenant", failure.tenant},
                                    {"reason", failure.reason},
                                    {"policy", settings_.on_gap == GapPolicy::kFail ? "fail" : "from_head"}});
  std::vector<HubItem> items;
  if (settings_.on_gap == GapPolicy::kFromHead) {
    publish_gap(told, items);
    place_.failed.erase(failure.tenant);
    place_.tenants[failure.tenant] = {failure.head_token, xid_of_token(failure.head_token), true};
    reseed_ = true;
  } else {
    place_.fail(failure.tenant, told.start_token);
    items.emplace_back(std::make_shared<const TenantFailure>(told));
  }
  {
    MutexLock lock(mutex_);
    status_.failed_tenants = place_.failed.size();
  }
  publish(std::move(items));
}

void Session::on_tenant_removed(const std::string& tenant) {
  place_.tenants.erase(tenant);
  place_.failed.erase(tenant);
  std::vector<HubItem> items;
  items.emplace_back(std::make_shared<const TenantRemoved>(TenantRemoved{tenant}));
  publish(std::move(items));
}

void Session::publish(std::vector<HubItem> items) {
  parts_.hub.publish(std::move(items), stream_.has_value() ? stream_->get_token() : stopping_);
}

void Session::publish_gap(const TenantFailure& failure, std::vector<HubItem>& items) {
  auto gap = std::make_shared<Event>();
  gap->kind = sinks::EventKind::kGap;
  gap->tenant = failure.tenant;
  gap->xid = xid_of_token(failure.head_token);
  gap->snap_token = failure.head_token;
  gap->incarnation = incarnation_;
  gap->started_at_us = parts_.clock.unix_micros();
  gap->reason = failure.reason;
  items.emplace_back(EventPtr(std::move(gap)));
  metrics_.on_gap();
  MutexLock lock(mutex_);
  ++status_.gaps;
}

void Session::change_state(SessionStatus::State state, const std::string& error) {
  MutexLock lock(mutex_);
  if (!error.empty()) status_.last_error = error;
  if (status_.state == state) return;
  const int64_t now = parts_.clock.unix_micros();
  log_info("session_state", {{"session", name_},
                             {"from", state_word(status_.state)},
                             {"to", state_word(state)},
                             {"after_ms", (now - status_.since_us) / 1000},
                             {"error", error}});
  status_.state = state;
  status_.since_us = now;
}

SessionStatus Session::status() const {
  MutexLock lock(mutex_);
  return status_;
}

}  // namespace headgate::relay
