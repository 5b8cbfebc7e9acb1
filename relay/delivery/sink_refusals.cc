// The part of SinkWorker that deals with what is missing or cannot be delivered: refused events, tenants that begin
// late, stop and go on.
#include <algorithm>

#include "base/log.h"
#include "base/snap_token.h"
#include "relay/delivery/sink_worker.h"

namespace headgate::relay {

namespace {

// Where a tenant goes on that stops at the event: at the token of the one before it, or right there when it has had
// none.
std::string start_in_front_of(const sinks::Event& event, const std::string& previous_token) {
  if (!previous_token.empty() || event.incarnation.empty()) return previous_token;
  return encode_position_token(event.xid);
}

}  // namespace

void SinkWorker::gap_at_start(const sinks::Event& first) {
  if (first.kind != sinks::EventKind::kChanges && first.kind != sinks::EventKind::kSchemaChanged) return;
  auto gap = std::make_shared<Event>();
  gap->kind = sinks::EventKind::kGap;
  gap->tenant = first.tenant;
  gap->xid = first.xid - 1;
  gap->snap_token = encode_position_token(first.xid);
  gap->incarnation = first.incarnation;
  gap->started_at_us = parts_.clock.unix_micros();
  gap->reason = "STARTED_AT_HEAD";
  status_.bytes_in_hand += gap->bytes();
  place_.assign(std::move(gap), pending_);
}

void SinkWorker::gap_in_doubt(const std::string& tenant) {
  EventPtr gap = place_.gap_in_doubt(tenant);
  status_.bytes_in_hand += gap->bytes();
  place_.assign(std::move(gap), pending_);
}

bool SinkWorker::tell_losses(std::stop_token stop) {
  {
    MutexLock lock(mutex_);
    for (EventPtr& gap : place_.take_gaps()) {
      status_.bytes_in_hand += gap->bytes();
      place_.assign(std::move(gap), pending_);
    }
  }
  return pending_.empty() || flush(stop) == Flush::kDone;
}

// The first delivery that is left can never be accepted: a GAP takes its place, under its number.
bool SinkWorker::poison(size_t index, const Status& status, std::stop_token stop) {
  metrics_.on_poison();
  metrics_.on_refused(RefusalKind::kEvent);
  sinks::Delivery& delivery = pending_[index];
  const EventPtr refused = delivery.event;
  log_error("poison_event", {{"sink", name_},
                             {"tenant", refused->tenant},
                             {"xid", refused->xid},
                             {"part", refused->part},
                             {"error", describe(status)}});
  if (refused->kind == sinks::EventKind::kGap) {
    // Not even that can be told. The cursor stays in front of it, so that a restart meets the event again.
    stop_tenant(refused->tenant, "POISON", describe(status), start_in_front_of(*refused, delivery.previous_token));
    drop_pending(index, refused->tenant);
    return true;
  }
  if (settings_.on_poison == PoisonPolicy::kDeadLetterFile && !keep_dead_letter(delivery, status, stop)) return false;
  auto gap = std::make_shared<Event>();
  gap->kind = sinks::EventKind::kGap;
  gap->tenant = refused->tenant;
  gap->xid = refused->xid;
  gap->part = refused->part;
  gap->more_parts = refused->more_parts;
  gap->snap_token = refused->snap_token;
  gap->snapshot = refused->snapshot;
  gap->incarnation = refused->incarnation;
  gap->started_at_us = parts_.clock.unix_micros();
  gap->reason = settings_.on_poison == PoisonPolicy::kDeadLetterFile ? "EVENT_DEAD_LETTERED" : "EVENT_REFUSED";
  if (settings_.on_poison != PoisonPolicy::kStop) {
    delivery.event = std::move(gap);
    return true;
  }
  // The cursor stays in front of the event, so that a resumed tenant meets it again; one that has had none starts right
  // there.
  gap->xid = refused->xid == 0 ? 0 : refused->xid - 1;
  gap->part = 0;
  gap->more_parts = false;
  gap->snap_token = start_in_front_of(*refused, delivery.previous_token);
  const std::string start = gap->snap_token;
  delivery.event = std::move(gap);
  drop_pending(index + 1, refused->tenant);
  // Not before the GAP is written: the sink may be away by now, and is then asked again like for any event.
  stopping_[refused->tenant] = {describe(status), start};
  return true;
}

void SinkWorker::stop_behind_gaps(size_t begin, size_t end) {
  for (size_t i = begin; i < end && !stopping_.empty(); ++i) {
    const std::string& tenant = pending_[i].event->tenant;
    const auto due = stopping_.find(tenant);
    if (due == stopping_.end() || pending_[i].event->kind != sinks::EventKind::kGap) continue;
    stop_tenant(tenant, "POISON", due->second.message, due->second.start_token);
    stopping_.erase(due);
  }
}

void SinkWorker::drop_pending(size_t from, const std::string& tenant) {
  MutexLock lock(mutex_);
  place_.end_batch(pending_);
  const auto begin = pending_.begin() + static_cast<ptrdiff_t>(from);
  pending_.erase(std::remove_if(begin, pending_.end(),
                                [&](const sinks::Delivery& other) { return other.event->tenant == tenant; }),
                 pending_.end());
}

bool SinkWorker::keep_dead_letter(const sinks::Delivery& delivery, const Status& status, std::stop_token stop) {
  for (;;) {
    const StatusOr<bool> held = dead_letters_.holds(name_, delivery);
    if (held.ok() && *held) return true;  // counted when it was written
    const Status kept =
        held.ok() ? dead_letters_.append(name_, delivery, status, parts_.clock.unix_micros()) : held.status();
    if (kept.ok()) break;
    change_state(SinkState::kRetrying, kept);
    if (!parts_.clock.sleep(retry_.next(), stop)) return false;
  }
  metrics_.on_dead_letter();
  return true;
}

void SinkWorker::stop_tenant(const std::string& tenant, const std::string& reason, const std::string& message,
                             const std::string& start_token) {
  MutexLock lock(mutex_);
  stopped_[tenant] = {reason, message, parts_.clock.unix_micros()};
  place_.hold(tenant, start_token);
  log_error("tenant_stopped", {{"sink", name_}, {"tenant", tenant}, {"reason", reason}, {"error", message}});
}

void SinkWorker::on_tenant_failed(const TenantFailure& failure) {
  // The ring still holds what stopped the tenant before somebody let it go on.
  const auto resumed = resumed_at_us_.find(failure.tenant);
  if (resumed != resumed_at_us_.end() && failure.told_at_us <= resumed->second) return;
  stop_tenant(failure.tenant, failure.reason, failure.message, failure.start_token);
}

Status SinkWorker::resume(const ResumeOrder& order) {
  MutexLock lock(mutex_);
  if (stopped_.count(order.tenant) == 0) {
    return make_status(StatusCode::kNotFound,
                       fmt::format("tenant '{}' is not stopped in sink '{}'", order.tenant, name_));
  }
  resumed_.push_back(order);
  resumed_.back().asked_at_us = parts_.clock.unix_micros();
  return ok_status();
}

// It is read on a private stream from its own cursor, as a sink that lost its place is.
void SinkWorker::resume_tenants() {
  MutexLock lock(mutex_);
  for (const ResumeOrder& order : std::exchange(resumed_, {})) {
    if (stopped_.erase(order.tenant) == 0) continue;
    place_.release(order.tenant);
    rewind_ = true;
    resumed_at_us_[order.tenant] = order.asked_at_us;
    if (order.on_gap) decided_[order.tenant] = *order.on_gap;
    log_info("tenant_resumed", {{"sink", name_}, {"tenant", order.tenant}, {"decided", order.on_gap.has_value()}});
  }
}

}  // namespace headgate::relay
