#include "relay/upstream/watch_run.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "base/log.h"
#include "base/snap_token.h"
#include "relay/upstream/retry_delay.h"

namespace headgate::relay {

namespace {

uint64_t xid_of(const std::string& token) {
  const StatusOr<SnapToken> decoded = decode_snap_token(token);
  return decoded.ok() ? decoded->xid : 0;
}

// These would meet every other stream as well.
bool concerns_all(const grpc::Status& status) {
  switch (status.error_code()) {
    case grpc::StatusCode::UNIMPLEMENTED:
    case grpc::StatusCode::UNAUTHENTICATED:
    case grpc::StatusCode::PERMISSION_DENIED: return true;
    default: return false;
  }
}

}  // namespace

WatchRun::WatchRun(Parts parts, const UpstreamRequest& request, UpstreamListener& listener)
    : parts_(parts), request_(request), listener_(listener), random_(random_seed()), unhealthy_at_(parts.clock.now()) {
  for (const auto& channel : parts_.channels) stubs_.push_back(base::v1::Watch::NewStub(channel));
  heard_.resize(parts_.channels.size());
}

Status WatchRun::run(std::stop_token stop) {
  std::jthread asker([this](std::stop_token end) { ask_in_turns(end); });
  loop(stop);
  asker.request_stop();
  end_streams();
  if (stop.stop_requested()) return make_status(StatusCode::kCancelled, "stopped");
  return enough_ ? make_status(StatusCode::kCancelled, "the listener has enough") : fatal_;
}

// Lists the tenants, and asks each connection whether it still leads somewhere: one that was swallowed says nothing,
// and plain Watch servers forbid pings that would tell soon.
void WatchRun::ask_in_turns(std::stop_token stop) {
  const bool lists = !request_.tenants.exact();
  if (!lists) inbox_->put(TenantsListed{request_.tenants.patterns});
  std::vector<int> unanswered(parts_.channels.size());
  do {
    for (size_t i = 0; i < parts_.channels.size() && !stop.stop_requested(); ++i) {
      Status answer;
      if (i == 0 && lists) {
        auto names = list_tenants(parts_.channels[i], parts_.maker, parts_.settings.call_timeout);
        answer = names.status();
        inbox_->put(TenantsListed{std::move(names)});
      } else {
        answer = ask_for_life(parts_.channels[i], parts_.maker, parts_.settings.call_timeout);
      }
      unanswered[i] = answer.code() == StatusCode::kDeadlineExceeded ? unanswered[i] + 1 : 0;
      inbox_->put(ChannelProbed{i, unanswered[i]});
      // The others can wait for the next turn; this one should be asked again soon.
      if (unanswered[i] > 0) break;
    }
  } while (parts_.clock.sleep(parts_.settings.tenant_poll, stop));
}

void WatchRun::loop(std::stop_token stop) {
  constexpr Duration kTick{200};
  while (!stop.stop_requested() && fatal_.ok() && !enough_) {
    Duration wait = kTick;
    if (!due_.empty()) {
      const auto until = std::chrono::duration_cast<Duration>(due_.begin()->first - parts_.clock.now());
      wait = std::clamp(std::max(until, parts_.budget.wait_time()), Duration(1), kTick);
    }
    for (WatchNote& note : inbox_->take(wait, stop)) on_note(note);
    hand_over();
    if (!opened_) continue;
    open_due();
    renew_silent();
    tell_progress();
  }
}

void WatchRun::on_note(WatchNote& note) {
  if (const auto* message = std::get_if<WatchMessage>(&note)) on_message(message->tenant);
  if (const auto* ended = std::get_if<WatchEnded>(&note)) on_ended(*ended);
  if (const auto* listed = std::get_if<TenantsListed>(&note)) on_listed(*listed);
  if (const auto* probed = std::get_if<ChannelProbed>(&note)) on_probed(*probed);
}

void WatchRun::on_probed(const ChannelProbed& probed) {
  constexpr int kUnansweredMax = 2;
  const bool heard = parts_.clock.now() - heard_[probed.channel] < parts_.settings.call_timeout;
  if (probed.unanswered < kUnansweredMax || heard || !fatal_.ok()) return;
  silent_ = true;
  fatal_ = unavailable("the upstream does not answer {} calls in a row, nor say anything; its streams are opened anew",
                       probed.unanswered);
}

void WatchRun::on_listed(const TenantsListed& listed) {
  if (!listed.names.ok()) {
    if (first_list_) fatal_ = listed.names.status();
    log_warn("tenant_list_failed", {{"error", describe(listed.names.status())}});
    return;
  }
  if (!std::exchange(opened_, true)) listener_.on_opened("", false);
  const std::set<std::string> names(listed.names->begin(), listed.names->end());
  for (const std::string& name : names) {
    if (request_.tenants.matches(name) && tenants_.count(name) == 0) add_tenant(name);
  }
  for (auto& [name, tenant] : tenants_) {
    // Twice in a row: one page read beside a change of the list proves nothing.
    tenant.missing = names.count(name) != 0 ? 0 : tenant.missing + 1;
    if (tenant.missing == 2 && !tenant.removed) remove_tenant(name, tenant);
  }
  std::erase_if(tenants_, [](const auto& entry) { return entry.second.removed && entry.second.stream == nullptr; });
  first_list_ = false;
  // Whatever appears in the next list was created after this moment.
  seed_token_ = newest_token_;
}

void WatchRun::add_tenant(const std::string& name) {
  Tenant& tenant = tenants_[name];
  const auto token = request_.starts.find(name);
  if (token != request_.starts.end()) {
    tenant.token = token->second.snap_token;
  } else if (!first_list_) {
    tenant.token = seed_token_;
    tenant.foreign = !seed_token_.empty();
    // An empty token starts at the head, and may miss what was written before the stream stands.
    if (seed_token_.empty()) log_warn("tenant_starts_at_head", {{"tenant", name}, {"why", "no older token is known"}});
  } else if (request_.default_start == StartPolicy::kEarliest) {
    log_warn("tenant_starts_at_head", {{"tenant", name}, {"why", "this kind of source has no earliest start"}});
  }
  tenant.xid = xid_of(tenant.token);
  schedule(name, Duration(0));
}

void WatchRun::remove_tenant(const std::string& name, Tenant& tenant) {
  tenant.removed = true;
  if (tenant.stream != nullptr) tenant.stream->cancel();
  hand_over();
  listener_.on_tenant_removed(name);
}

void WatchRun::on_message(const std::string& name) {
  Tenant& tenant = tenants_.at(name);
  base::v1::DataChanges& changes = *tenant.stream->message().mutable_changes();
  tenant.attempt = 0;
  heard_[tenant.channel] = parts_.clock.now();
  if (tenant.at_head && !tenant.removed && !changes.snap_token().empty()) tell_start_at_head(name, tenant);
  taken_.push_back(tenant.stream.get());
  if (tenant.removed || changes.snap_token().empty()) return;  // a keep-alive carries no position
  const uint64_t xid = xid_of(changes.snap_token());
  tenant.part = xid == tenant.xid ? tenant.part + 1 : 0;
  tenant.xid = xid;
  tenant.token = changes.snap_token();
  tenant.foreign = false;
  newest_token_ = tenant.token;
  auto event = std::make_shared<Event>();
  event->tenant = name;
  event->xid = xid;
  event->part = tenant.part;
  event->snap_token = tenant.token;
  event->payload = changes.SerializeAsString();
  events_.push_back(std::move(event));
}

// Where exactly the stream began nobody knows but the server; in front of its first message is what can be said.
void WatchRun::tell_start_at_head(const std::string& name, Tenant& tenant) {
  tenant.at_head = false;
  const std::string& first = tenant.stream->message().changes().snap_token();
  const uint64_t xid = xid_of(first);
  hand_over();
  listener_.on_tenant_starts_later({name, "STARTED_AT_HEAD",
                                    "the stream began at the head, since no token of this tenant was known",
                                    xid == 0 ? first : encode_legacy_token(xid - 1)});
}

void WatchRun::on_ended(const WatchEnded& ended) {
  Tenant& tenant = tenants_.at(ended.tenant);
  tenant.stream.reset();
  --open_;
  if (std::exchange(tenant.renewing, false) && !tenant.removed) {
    due_.emplace(parts_.clock.now(), ended.tenant);
    return;
  }
  unhealthy_at_ = parts_.clock.now();
  if (tenant.removed) return;
  const Status status = to_status(ended.status);
  if (concerns_all(ended.status)) {
    fatal_ = status;
  } else if (reaction_to(status) == Reaction::kResync && std::exchange(tenant.foreign, false)) {
    // The server does not take tokens of others; the head is left, and is told.
    tenant.token.clear();
    schedule(ended.tenant, Duration(0));
  } else if (reaction_to(status) == Reaction::kResync) {
    tenant.failed = true;
    hand_over();
    const std::string reason = reason_of(ended.status);
    listener_.on_tenant_failed({ended.tenant, reason.empty() ? "HISTORY_GONE" : reason, message_of(status), ""});
  } else {
    schedule(ended.tenant, std::max(full_jitter(tenant.attempt++), retry_delay_of(status)));
  }
}

void WatchRun::open_due() {
  const MonotonicTime now = parts_.clock.now();
  while (!due_.empty() && due_.begin()->first <= now && parts_.budget.try_take()) {
    const std::string name = due_.begin()->second;
    due_.erase(due_.begin());
    const auto found = tenants_.find(name);
    if (found == tenants_.end() || found->second.removed || found->second.stream != nullptr) continue;
    Tenant& tenant = found->second;
    tenant.channel = next_stub_++ % stubs_.size();
    base::v1::Watch::Stub& stub = *stubs_[tenant.channel];
    tenant.at_head = tenant.token.empty();
    tenant.opened_at = now;
    tenant.seed = tenant.at_head ? newest_token_ : "";
    tenant.stream = WatchStream::start(stub, parts_.maker, name, tenant.token, inbox_);
    ++open_;
  }
}

// Permify never begins the stream of a tenant that had no transaction when it was opened, and says nothing of it. So a
// stream from the head that stays silent is opened once more: at a token of somebody else as soon as there is one, and
// the tenant is told that what was before is missing; until then at the head, a few at a time.
void WatchRun::renew_silent() {
  constexpr size_t kLooksMax = 64;
  size_t renewals = 8;
  const MonotonicTime now = parts_.clock.now();
  auto it = tenants_.upper_bound(renewed_);
  for (size_t looks = std::min(kLooksMax, tenants_.size()); looks > 0 && !enough_; --looks, ++it) {
    if (it == tenants_.end()) it = tenants_.begin();
    auto& [name, tenant] = *it;
    renewed_ = name;
    const bool silent = tenant.stream != nullptr && tenant.at_head && !tenant.removed && !tenant.renewing;
    if (!silent || now - tenant.opened_at < parts_.settings.silent_start) continue;
    if (!newest_token_.empty()) {
      hand_over();
      tenant.at_head = false;
      tenant.foreign = true;
      tenant.token = tenant.seed.empty() ? newest_token_ : tenant.seed;
      tenant.xid = xid_of(tenant.token);
      listener_.on_tenant_starts_later({name, "STARTED_AT_HEAD",
                                        "the stream began at the head, since no token of this tenant was known",
                                        tenant.token});
    }
    tenant.renewing = true;
    tenant.stream->cancel();
    if (--renewals == 0) return;
  }
}

void WatchRun::schedule(const std::string& name, Duration wait) {
  unhealthy_at_ = parts_.clock.now();
  due_.emplace(parts_.clock.now() + wait, name);
}

// As base/backoff.h, with one generator for all streams: a generator each would be most of a quiet tenant's memory.
Duration WatchRun::full_jitter(int attempt) {
  const BackoffSettings& backoff = parts_.settings.stream_backoff;
  const double ceiling =
      std::min<double>(static_cast<double>(backoff.max.count()),
                       std::ldexp(static_cast<double>(backoff.initial.count()), std::min(attempt, 30)));
  return Duration(static_cast<int64_t>(std::uniform_real_distribution<double>(0, ceiling)(random_)));
}

void WatchRun::hand_over() {
  if (!events_.empty() && !listener_.on_events(std::exchange(events_, {}))) enough_ = true;
  // Only now: as long as the listener had no room, nobody reads.
  for (WatchStream* stream : std::exchange(taken_, {})) stream->read_next();
}

// A tenant without events has no token of its own. One that was seen long ago, while every stream has stood since, lies
// before nothing that such a tenant has not sent.
void WatchRun::tell_progress() {
  const MonotonicTime now = parts_.clock.now();
  if (!newest_token_.empty() && (samples_.empty() || now - samples_.back().at >= Duration(1'000))) {
    if (samples_.empty() || samples_.back().token != newest_token_) samples_.push_back({now, newest_token_});
  }
  std::optional<Sample> old;
  while (!samples_.empty() && now - samples_.front().at >= parts_.settings.quiet_token_age) {
    old = std::move(samples_.front());
    samples_.pop_front();
  }
  if (!old.has_value() || !due_.empty() || unhealthy_at_ >= old->at) return;
  // A stream from the head that has said nothing may be one that never will.
  const bool in_doubt = std::any_of(tenants_.begin(), tenants_.end(), [](const auto& entry) {
    return entry.second.at_head && !entry.second.removed && !entry.second.failed;
  });
  if (!in_doubt) listener_.on_progress({0, old->token, ""});
}

// Cancelled calls end at once, unless something hangs inside of gRPC; the next run must not hang with it.
void WatchRun::end_streams() {
  for (auto& [name, tenant] : tenants_) {
    if (tenant.stream != nullptr) tenant.stream->cancel();
  }
  const MonotonicTime end = system_clock().now() + parts_.settings.stream_end_max;
  while (open_ > 0 && system_clock().now() < end) {
    take_ends(std::chrono::duration_cast<Duration>(end - system_clock().now()) + Duration(1));
  }
  take_ends(Duration(0));
  if (open_ == 0) return;
  log_error("watch_streams_left_behind", {{"streams", open_}, {"waited_ms", parts_.settings.stream_end_max.count()}});
}

void WatchRun::take_ends(Duration timeout) {
  for (const WatchNote& note : inbox_->take(timeout, {})) {
    if (const auto* message = std::get_if<WatchMessage>(&note)) tenants_.at(message->tenant).stream->read_next();
    if (const auto* ended = std::get_if<WatchEnded>(&note)) {
      tenants_.at(ended->tenant).stream.reset();
      --open_;
    }
  }
}

}  // namespace headgate::relay
