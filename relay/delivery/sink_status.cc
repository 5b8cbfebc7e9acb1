// The part of SinkWorker that answers /status, and knows how old is what the sink has.
#include <algorithm>
#include <utility>

#include "base/log.h"
#include "relay/delivery/sink_worker.h"

namespace headgate::relay {

const char* state_word(SinkState state) {
  switch (state) {
    case SinkState::kStarting: return "starting";
    case SinkState::kLive: return "live";
    case SinkState::kCatchingUp: return "catching_up";
    case SinkState::kRetrying: return "retrying";
    case SinkState::kBlocked: return "blocked";
    case SinkState::kFenced: return "fenced";
    case SinkState::kStopped: return "stopped";
  }
  return "unknown";
}

void SinkWorker::note_refusal(const Status& error, bool writing) {
  constexpr Duration kTellAgain{60'000};
  RefusalKind kind = refusal_kind(error);
  // Without an event at hand it is the settings that the server does not take.
  if (kind == RefusalKind::kEvent && !writing) kind = RefusalKind::kVersion;
  metrics_.on_refused(kind);
  const MonotonicTime now = parts_.clock.now();
  int64_t since_us = 0;
  bool is_new = false;
  {
    MutexLock lock(mutex_);
    is_new = status_.refusal != kind;
    if (!status_.refusal) status_.refused_since_us = parts_.clock.unix_micros();
    status_.refusal = kind;
    since_us = status_.refused_since_us;
  }
  if (!is_new && now - refusal_told_ < kTellAgain) return;
  refusal_told_ = now;
  log_warn("sink_refused", {{"sink", name_},
                            {"reason", refusal_word(kind)},
                            {"error", describe(error)},
                            {"for_ms", (parts_.clock.unix_micros() - since_us) / 1000},
                            {"action", "try again"}});
}

void SinkWorker::settle() {
  {
    MutexLock lock(mutex_);
    status_.refusal.reset();
  }
  change_state(catch_up_ ? SinkState::kCatchingUp : SinkState::kLive);
}

size_t SinkWorker::source_event_bytes() const {
  return settings_.source_event_bytes != 0 ? settings_.source_event_bytes : parts_.hub.event_bytes_max();
}

void SinkWorker::note_limit() {
  const size_t bytes = sink_->max_event_bytes(), source = source_event_bytes();
  {
    MutexLock lock(mutex_);
    status_.max_event_bytes = bytes;
  }
  if (std::exchange(noted_limits_, {bytes, source}) == std::pair(bytes, source)) return;
  if (bytes == 0 || bytes >= source) return;
  {
    MutexLock lock(mutex_);
    ++status_.limit_warnings;
  }
  log_warn("sink_takes_less_than_the_source_sends",
           {{"sink", name_},
            {"max_event_bytes", bytes},
            {"source_event_bytes", source},
            {"effect", "a larger event is refused, and on_poison decides what becomes of its tenant"},
            {"help",
             "raise the sink's limit (message_bytes_max and the topic's max.message.bytes, max_payload, "
             "event_bytes_max), or lower the engine's limits.attribute_json_bytes_max and feed.part_bytes_max"}});
}

void SinkWorker::pass(const Progress& mark) {
  // The source tells its limit whenever a stream opens, and a sink may be open long before.
  if (noted_limits_.second != source_event_bytes()) note_limit();
  MutexLock lock(mutex_);
  complete_at_us_ = std::max(complete_at_us_, mark.told_at_us);
  place_.passed(mark);
}

SinkStatus SinkWorker::status() const {
  MutexLock lock(mutex_);
  SinkStatus status = status_;
  status.tenants = place_.tenants().size();
  status.stopped_tenants = stopped_.size();
  for (const auto& [tenant, stopped] : stopped_) ++status.stopped_reasons[stopped.reason];
  status.age_seconds = std::max(0.0, static_cast<double>(system_clock().unix_micros() - complete_at_us_) / 1e6);
  if (oldest_in_hand_us_ > 0) {
    status.lag_seconds = std::max(0.0, static_cast<double>(parts_.clock.unix_micros() - oldest_in_hand_us_) / 1e6);
  }
  return status;
}

std::vector<TenantStatus> SinkWorker::tenants(const TenantQuery& query) const {
  MutexLock lock(mutex_);
  const int64_t now = parts_.clock.unix_micros();
  std::vector<TenantStatus> page;
  const TenantTable& tenants = place_.tenants();
  size_t place = query.tenant.empty() ? tenants.first_after(query.after) : tenants.place_of(query.tenant);
  for (; place < tenants.size() && page.size() < query.limit; ++place) {
    const TenantEntry& tenant = tenants.at(place);
    const std::string& name = *tenant.name;
    if (!query.tenant.empty() && name != query.tenant) break;
    const auto stopped = stopped_.find(name);
    if (query.stopped_only && stopped == stopped_.end()) continue;
    TenantStatus line{name, name_, "ok", 0, tenant.snap_token, tenant.xid, tenant.sequence, tenant.started_at_us,
                      0,    ""};
    if (stopped != stopped_.end()) {
      line.state = stopped->second.reason;
      line.since_us = stopped->second.since_us;
      line.last_error = stopped->second.message;
      line.lag_seconds = static_cast<double>(now - stopped->second.since_us) / 1e6;
    } else if (tenant.newest_in_batch >= 0 && oldest_in_hand_us_ > 0) {
      line.lag_seconds = std::max(0.0, static_cast<double>(now - oldest_in_hand_us_) / 1e6);
    }
    page.push_back(std::move(line));
  }
  return page;
}

}  // namespace headgate::relay
