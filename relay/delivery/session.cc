#include "relay/delivery/session.h"

#include <algorithm>

#include "base/log.h"
#include "base/memory.h"
#include "base/snap_token.h"
#include "relay/upstream/retry_delay.h"

namespace headgate::relay {

namespace {

// What an engine takes in one call, unless it is told otherwise.
constexpr size_t kUntoldEventBytes = 4 << 20;
// What a sink puts around changes: attributes of a few hundred bytes each, and a list of types.
constexpr size_t kEnvelopeBytes = 16 << 10;

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
  static constexpr const char* kWords[] = {"connecting", "open", "waiting", "history_lost", "ended"};
  return kWords[static_cast<int>(state)];
}

Session::Session(Parts parts, SessionSettings settings, std::string name, SourcePlace start)
    : parts_(parts),
      settings_(std::move(settings)),
      name_(std::move(name)),
      backoff_(settings_.backoff, random_seed()),
      metrics_(parts_.metrics, name_ == "main" ? "main" : "catch_up"),
      place_(std::move(start)),
      snapshots_({parts_.upstream, parts_.hub, parts_.clock}, name_, settings_.backoff) {
  status_.since_us = parts_.clock.unix_micros();
}

void Session::run(std::stop_token stop) {
  stopping_ = stop;
  resume_snapshots();
  while (!stop.stop_requested() && parts_.budget.take(stop)) {
    const Status status = run_once(stop);
    if (stop.stop_requested()) break;
    if (reseed_) continue;
    const Duration wait = wait_after(status);
    parts_.clock.sleep(wait, stop);
  }
  snapshots_.stop();
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

// What is known of the source's tenants: those that are named, and those that the source lists.
StatusOr<std::set<std::string>> Session::tenant_names() {
  std::set<std::string> names;
  for (const std::string& pattern : settings_.tenants.patterns) {
    if (!is_pattern(pattern)) names.insert(pattern);
  }
  if (!has_pattern(settings_.tenants)) return names;
  StatusOr<std::vector<std::string>> listed = parts_.upstream.tenants();
  if (!listed.ok()) {
    if (listed.status().code() == StatusCode::kUnimplemented) return names;
    return listed.status();
  }
  for (std::string& name : *listed) {
    if (settings_.tenants.matches(name)) names.insert(std::move(name));
  }
  return names;
}

StatusOr<UpstreamRequest> Session::request() {
  UpstreamRequest request;
  request.tenants = settings_.tenants;
  const bool first = place_.progress.snap_token.empty();
  // A tenant that nobody told us of was created while we were away: all of its history is new to us.
  request.default_start = first && !compare_all_ ? settings_.default_start : StartPolicy::kEarliest;
  if (gap_for_all_) request.default_start = StartPolicy::kHead;
  at_head_ = request.default_start != StartPolicy::kEarliest || compare_all_;
  snapshot_new_ = request.default_start == StartPolicy::kSnapshot;
  if (compare_all_) {
    // Positions that the source has named since then are of its present history.
    if (compared_) request.progress.incarnation = incarnation_;
    request.progress.recent = place_.progress.recent;
    request.starts = place_.all_starts();
    std::erase_if(request.starts, [&](const auto& start) { return !settings_.tenants.matches(start.first); });
    return request;
  }
  request.progress = place_.progress;
  HG_ASSIGN_OR_RETURN(const std::set<std::string> names, tenant_names());
  for (const std::string& name : names) {
    TenantStart start = place_.start_of(name);
    if (!start.snap_token.empty()) request.starts[name] = std::move(start);
  }
  for (const auto& [name, tenant] : place_.tenants) {
    if (!tenant.snap_token.empty() && settings_.tenants.matches(name)) request.starts[name] = place_.start_of(name);
  }
  if (gap_for_all_) {
    for (const std::string& name : names) place_.known.try_emplace(name);
  }
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
  if (!status.ok()) note_refusal(refusal_kind(status));
  switch (reaction_to(status)) {
    case Reaction::kResync: return history_lost(status);
    case Reaction::kStop:
      if (!status.ok()) {
        // Refused, as with a wrong key: somebody may repair it while we run.
        change_state(State::kWaiting, describe(status));
        return std::max(asked, backoff_.next());
      }
      [[fallthrough]];
    default:
      change_state(State::kWaiting, status.ok() ? "the stream ended" : describe(status));
      return std::max(asked, backoff_.next());
  }
}

// The source's history is not the one that this place belongs to, or not all of it: after a crash that lost commits, a
// restore, a fail-over. First each tenant is compared by its last event; only a source that cannot do that makes all
// of them begin anew.
Duration Session::history_lost(const Status& status) {
  change_state(SessionStatus::State::kHistoryLost, describe(status));
  parts_.hub.history_replaced();
  if ((!compare_all_ || compared_) && place_.progress.newest.xid != 0) {
    log_warn("source_history_differs",
             {{"session", name_}, {"error", describe(status)}, {"action", "compare every tenant"}});
    compare_all_ = true;
    compared_ = false;
    return backoff_.next();
  }
  if (settings_.on_gap == GapPolicy::kFail) {
    log_error("source_history_lost",
              {{"session", name_}, {"error", describe(status)}, {"help", "set tenants.on_gap to snapshot to go on"}});
    return settings_.backoff.max;
  }
  log_error("source_history_lost",
            {{"session", name_}, {"error", describe(status)}, {"action", "a GAP for every tenant"}});
  compare_all_ = false;
  gap_for_all_ = true;
  std::map<std::string, SourcePlace::Known> known = std::move(place_.known);
  place_ = {};
  place_.known = std::move(known);
  return backoff_.next();
}

void Session::on_opened(const std::string& incarnation, bool ordered) {
  incarnation_ = incarnation;
  ordered_ = ordered;
  compared_ = compare_all_;
  snapshots_.stream_opened();
  metrics_.on_opened();
  return_free_memory();
  const size_t changes_bytes = std::exchange(told_bytes_, 0);
  parts_.hub.set_event_bytes_max(changes_bytes == 0 ? kUntoldEventBytes : changes_bytes + kEnvelopeBytes);
  parts_.hub.begin(incarnation, ordered, at_head_ ? Hub::kNoJoin : place_.floor());
  {
    MutexLock lock(mutex_);
    ++status_.opened;
    status_.incarnation = incarnation;
    status_.ordered = ordered;
  }
  note_refusal(std::nullopt);
  change_state(SessionStatus::State::kOpen, "");
  if (snapshot_new_) snapshot_new_tenants();
}

void Session::go_on_without_snapshot(const std::string& tenant, const Status& why) {
  snapshots_.release(tenant);
  log_warn("snapshot_refused",
           {{"session", name_}, {"tenant", tenant}, {"error", describe(why)}, {"action", "go on at the head"}});
  std::vector<HubItem> items;
  const std::string& head = place_.progress.snap_token;
  publish_gap({tenant, "SNAPSHOT_UNAVAILABLE", message_of(why), head}, head, items);
  publish(std::move(items));
  place_.resume(tenant, head, xid_of_token(head));
  reseed_ = true;
  stream_->request_stop();
}

bool Session::on_events(std::vector<EventPtr> events) {
  if (reseed_) return false;
  backoff_.reset();
  settle_snapshots();
  if (reseed_) return false;
  std::vector<HubItem> items;
  items.reserve(events.size());
  for (EventPtr& event : events) {
    if (!is_wanted(*event)) continue;
    if (event->kind == sinks::EventKind::kGap) count_gap();
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

void Session::on_progress(const Progress& told) {
  if (at_head_) snapshots_.stream_began(told.position);
  if (!reseed_) settle_snapshots();
  if (reseed_) {
    // The mark would cover tenants that wait for their new start.
    stream_->request_stop();
    return;
  }
  backoff_.reset();
  const auto mark = std::make_shared<Progress>(told);
  mark->incarnation = incarnation_;
  mark->restarts = std::exchange(compare_all_, false);
  std::vector<HubItem> items;
  if (std::exchange(at_head_, false) && mark->position > 0) parts_.hub.set_floor(mark->position - 1);
  if (std::exchange(gap_for_all_, false)) gap_for_all(*mark);
  place_.passed(*mark);
  thin_out(*mark, parts_.clock.now(), recent_told_);
  items.emplace_back(std::shared_ptr<const Progress>(mark));
  {
    MutexLock lock(mutex_);
    status_.position = mark->position;
  }
  // Behind events everybody is awake already, and six sinks are not to be woken twice.
  const bool quietly = std::exchange(told_readers_, false) && items.size() == 1;
  if (quietly) {
    parts_.hub.publish_quietly(std::move(items), stream_->get_token());
  } else {
    parts_.hub.publish(std::move(items), stream_->get_token());
  }
}

void Session::gap_for_all(const Progress& mark) {
  std::vector<HubItem> items;
  std::vector<std::string> names;
  for (const auto& [name, last] : std::exchange(place_.known, {})) {
    publish_gap({name, "OTHER_INCARNATION", "the source has another history", mark.snap_token}, mark.snap_token, items);
    names.push_back(name);
  }
  if (settings_.on_gap == GapPolicy::kSnapshot) {
    snapshot(names, true, std::move(items));
  } else {
    publish(std::move(items));
  }
}

void Session::on_tenant_failed(const TenantFailure& failure) {
  if (!settings_.tenants.matches(failure.tenant)) return;
  // Its snapshot does not need the history that is gone.
  if (snapshots_.running(failure.tenant)) return;
  TenantFailure told = failure;
  told.start_token = place_.token_for(failure.tenant);
  told.told_at_us = parts_.clock.unix_micros();
  metrics_.on_tenant_failed();
  const auto decided = place_.decided.extract(failure.tenant);
  const GapPolicy policy = decided ? decided.mapped() : settings_.on_gap;
  static constexpr const char* kPolicies[] = {"fail", "from_head", "snapshot"};
  log_error("tenant_history_gone", {{"session", name_},
                                    {"tenant", failure.tenant},
                                    {"reason", failure.reason},
                                    {"policy", kPolicies[static_cast<int>(policy)]},
                                    {"decided", !decided.empty()}});
  std::vector<HubItem> items;
  switch (policy) {
    case GapPolicy::kFromHead:
      publish_gap(told, told.head_token, items);
      place_.resume(failure.tenant, failure.head_token, xid_of_token(failure.head_token));
      reseed_ = true;
      break;
    case GapPolicy::kSnapshot:
      publish_gap(told, told.start_token, items);
      snapshot({failure.tenant}, false, std::exchange(items, {}));
      break;
    case GapPolicy::kFail:
      publish_gap(told, told.start_token, items);
      place_.hold(failure.tenant, told.start_token);
      items.emplace_back(std::make_shared<const TenantFailure>(told));
      break;
  }
  note_failed(failure.tenant, policy == GapPolicy::kFail);
  publish(std::move(items));
}

void Session::on_tenant_starts_later(const TenantFailure& failure) {
  if (!settings_.tenants.matches(failure.tenant) || snapshots_.running(failure.tenant)) return;
  log_warn("tenant_starts_later",
           {{"session", name_}, {"tenant", failure.tenant}, {"reason", failure.reason}, {"why", failure.message}});
  std::vector<HubItem> items;
  publish_gap(failure, failure.head_token, items);
  place_.resume(failure.tenant, failure.head_token, xid_of_token(failure.head_token));
  publish(std::move(items));
}

void Session::publish(std::vector<HubItem> items) {
  if (items.empty()) return;
  parts_.hub.publish(std::move(items), stream_.has_value() ? stream_->get_token() : stopping_);
}

// `token`: the state behind which the tenant goes on.
void Session::publish_gap(const TenantFailure& failure, const std::string& token, std::vector<HubItem>& items) {
  auto gap = std::make_shared<Event>();
  gap->kind = sinks::EventKind::kGap;
  gap->tenant = failure.tenant;
  gap->xid = xid_of_token(token);
  gap->snap_token = token;
  gap->incarnation = incarnation_;
  gap->started_at_us = parts_.clock.unix_micros();
  gap->reason = failure.reason;
  items.emplace_back(EventPtr(std::move(gap)));
  count_gap();
}

void Session::count_gap() {
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

void Session::note_refusal(std::optional<RefusalKind> kind) {
  if (kind) metrics_.on_refused(*kind);
  MutexLock lock(mutex_);
  status_.refusal = kind;
}

SessionStatus Session::status() const {
  MutexLock lock(mutex_);
  return status_;
}

}  // namespace headgate::relay
