#include "relay/delivery/sink_worker.h"

#include <pthread.h>

#include <algorithm>

#include "base/guard.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/snap_token.h"

namespace headgate::relay {

namespace {

template <typename T>
const T* held(const HubItem& item) {
  const auto* found = std::get_if<std::shared_ptr<const T>>(&item);
  return found == nullptr ? nullptr : found->get();
}

// Whether an event before the next mark puts its tenant to a place that the marks so far do not cover.
bool pins_ahead(const std::vector<HubItem>& items, size_t from) {
  for (size_t at = from; at < items.size(); ++at) {
    const auto* event = std::get_if<EventPtr>(&items[at]);
    if (event == nullptr) {
      if (held<Progress>(items[at]) != nullptr) return false;
      continue;
    }
    const sinks::EventKind kind = (*event)->kind;
    if (kind == sinks::EventKind::kGap || kind == sinks::EventKind::kSnapshotEnd) return true;
  }
  return false;
}

// After these the connection may be of no use any more.
bool needs_reopening(const Status& status) {
  return status.code() != StatusCode::kResourceExhausted && status.code() != StatusCode::kDeadlineExceeded;
}

}  // namespace

SinkWorker::SinkWorker(Parts parts, WorkerSettings settings, std::unique_ptr<sinks::Sink> sink)
    : parts_(std::move(parts)),
      settings_(std::move(settings)),
      sink_(std::move(sink)),
      name_(sink_->info().name),
      metrics_(parts_.metrics, name_),
      committer_({parts_.store, parts_.clock, metrics_}, settings_.commit, name_, parts_.fence),
      retry_(settings_.retry, random_seed()),
      dead_letters_(settings_.dead_letter_file),
      started_us_(parts_.clock.unix_micros()) {
  status_.name = name_;
  status_.kind = sink_->info().kind;
  status_.guarantee = sink_->info().guarantee;
  status_.since_us = started_us_;
}

SinkWorker::~SinkWorker() { join(); }

void SinkWorker::start(SinkPlace place, std::unique_ptr<HubReader> reader) {
  {
    MutexLock lock(mutex_);
    place_ = std::move(place);
  }
  reader_ = std::move(reader);
  thread_ = std::jthread([this](std::stop_token stop) { run(stop); });
  pthread_setname_np(thread_.native_handle(), ("sink-" + name_).substr(0, 15).c_str());
}

void SinkWorker::join() {
  if (!thread_.joinable()) return;
  thread_.request_stop();
  thread_.join();
}

void SinkWorker::run(std::stop_token stop) {
  if (open(stop)) {
    retry_.reset();
    if (begin_to_send(stop)) loop(stop);
  }
  catch_up_.reset();
  reader_.reset();
  if (!fenced_) commit_at_end();
  sink_->close();
  if (!fenced_) change_state(SinkState::kStopped);
  finished_ = true;
}

bool SinkWorker::open(std::stop_token stop) {
  while (!stop.stop_requested() && !fenced_) {
    const Status status = open_once(stop);
    if (status.ok()) return true;
    if (status.code() == StatusCode::kFailedPrecondition) {
      fenced(status);
      return false;
    }
    change_state(SinkState::kRetrying, status);
    note_refusal(status, false);
    if (draining_) return false;
    parts_.clock.sleep(retry_.next(), stop);
  }
  return false;
}

Status SinkWorker::open_once(std::stop_token stop) {
  HG_RETURN_IF_ERROR(sink_->open(stop));
  note_limit();
  {
    MutexLock lock(mutex_);
    // What a sink that keeps no place was sent under a cursor that is lost must stay below.
    place_.set_first_sequence(sink_->info().keeps_place ? 1 : static_cast<uint64_t>(started_us_));
  }
  const Status status = recover(stop);
  return_free_memory();
  return status;
}

Status SinkWorker::recover(std::stop_token stop) {
  std::map<std::string, Cursor> known;
  {
    MutexLock lock(mutex_);
    known = place_.cursors();
  }
  if (!guarded(Guard::kAskSink)) return ok_status();
  auto held_by_sink = sink_->recover(known, stop);
  if (!held_by_sink.ok()) return held_by_sink.status();
  std::erase_if(*held_by_sink, [&](const auto& held) { return !settings_.tenants.matches(held.first); });
  bool unordered = false;
  bool lost_cursors = false;
  SinkPlace::Recovery recovery;
  {
    MutexLock lock(mutex_);
    lost_cursors = place_.progress().snap_token.empty();
    recovery = place_.recovered(*held_by_sink);
    for (const auto& [tenant, cursor] : *held_by_sink) {
      unordered |= cursor.incarnation.empty();
    }
  }
  if (recovery.behind > 0) {
    metrics_.on_rewound();
    log_warn("sink_lost_events", {{"sink", name_}, {"tenants", recovery.behind}, {"action", "replay"}});
  }
  if (lost_cursors && recovery.ahead > 0) {
    log_warn("sink_has_more_than_cursors", {{"sink", name_},
                                            {"tenants", recovery.ahead},
                                            {"why", "the token store knows nothing of this sink"},
                                            {"action", "go on behind what the sink holds"}});
  }
  // Without cursors the common stream may start behind what the sink holds. Where xids give no order, what the sink has
  // already can only be skipped by starting behind it. A snapshot goes on behind the page that this sink has.
  if (recovery.behind > 0 || ((unordered || lost_cursors || recovery.in_snapshot) && recovery.ahead > 0))
    rewind_ = true;
  return ok_status();
}

void SinkWorker::loop(std::stop_token stop) {
  while (!stop.stop_requested() && !fenced_) {
    if (std::exchange(rewind_, false)) lose_place("rewound");
    if (!reader_ && !catch_up_ && !guarded(Guard::kCatchUp)) reader_ = parts_.hub.attach();
    if (!reader_ && !catch_up_) {
      if (draining_) return;
      SourcePlace start;
      {
        MutexLock lock(mutex_);
        start = place_.source_place();
      }
      start.decided = std::exchange(decided_, {});
      catch_up_ =
          std::make_unique<CatchUp>(parts_.make_session, std::move(start), "sink-" + name_, settings_.catch_up_bytes);
    }
    settle();
    if (!tell_losses(stop)) continue;
    resume_tenants();
    if (rewind_) continue;
    ReadResult result = read(stop);
    if (result.outcome == ReadResult::Outcome::kClosed) return;
    if (result.outcome == ReadResult::Outcome::kLagged) {
      metrics_.on_lagged();
      lose_place("lagged");
      continue;
    }
    const bool idle = result.outcome == ReadResult::Outcome::kNothing;
    if (!idle && !process(std::move(result.items), stop)) continue;
    if (!commit_when_due(idle, stop)) continue;
    beat_when_due(stop);
    if (catch_up_) join_hub();
    if (draining_ && catch_up_) return;
  }
}

ReadResult SinkWorker::read(std::stop_token stop) {
  HubReader& reader = catch_up_ ? catch_up_->reader() : *reader_;
  Duration wait;
  {
    MutexLock lock(mutex_);
    wait = committer_.idle_wait(place_);
  }
  ReadResult result = reader.read(settings_.batch, wait, stop);
  MutexLock lock(mutex_);
  status_.bytes_behind = reader.bytes_behind();
  return result;
}

bool SinkWorker::process(std::vector<HubItem> items, std::stop_token stop) {
  std::shared_ptr<const Progress> mark;
  Flush outcome = Flush::kDone;
  const bool ordered = catch_up_ ? catch_up_->ordered() : parts_.hub.ordered();
  for (size_t at = take_events(items, 0, ordered); at < items.size(); at = take_events(items, at + 1, ordered)) {
    HubItem& item = items[at];
    if (auto* progress = std::get_if<std::shared_ptr<const Progress>>(&item); progress != nullptr) {
      mark = std::move(*progress);
      if (!guarded(Guard::kProgressAfterEvents)) pass(*mark);
      if (pins_ahead(items, at + 1)) {
        // It covers tenants as they stand here, and not what an event behind it pins.
        outcome = flush(stop);
        if (outcome != Flush::kDone) break;
        pass(*std::exchange(mark, nullptr));
      }
    } else {
      outcome = flush(stop);
      if (outcome != Flush::kDone) break;
      if (const auto* failure = held<TenantFailure>(item)) on_tenant_failed(*failure);
      // One that was in the ring when this sink joined it has ended in front of its place.
      if (const auto* due = held<SnapshotDue>(item); due != nullptr && overlap_ == 0) {
        MutexLock lock(mutex_);
        place_.snapshot_due(due->tenant);
      }
    }
    if (overlap_ > 0) --overlap_;
  }
  if (outcome == Flush::kDone) outcome = flush(stop);
  if (outcome != Flush::kDone) return false;
  if (mark != nullptr) pass(*mark);
  return true;
}

size_t SinkWorker::take_events(std::vector<HubItem>& items, size_t at, bool ordered) {
  MutexLock lock(mutex_);
  for (; at < items.size(); ++at) {
    auto* event = std::get_if<EventPtr>(&items[at]);
    if (event == nullptr) break;
    take(std::move(*event), ordered);
    if (overlap_ > 0) --overlap_;
  }
  return at;
}

void SinkWorker::take(EventPtr event, bool ordered) {
  if (!stopped_.empty()) {
    const auto stopped = stopped_.find(event->tenant);
    const bool goes_on = event->kind == sinks::EventKind::kGap || event->kind == sinks::EventKind::kTenantRemoved ||
                         event->kind == sinks::EventKind::kSnapshotBegin;
    if (stopped != stopped_.end()) {
      if (!goes_on) {
        metrics_.on_dropped_of_stopped_tenant();
        return;
      }
      stopped_.erase(stopped);
    }
  }
  if (guarded(Guard::kSkipRepeats) && is_repeat(*event, ordered)) {
    metrics_.on_duplicates(1);
    ++status_.duplicates;
    return;
  }
  if (ordered && place_.began_at_head() && place_.is_new(event->tenant)) gap_at_start(*event);
  if (event->kind != sinks::EventKind::kGap && place_.in_doubt(event->tenant)) gap_in_doubt(event->tenant);
  status_.bytes_in_hand += event->bytes();
  place_.assign(std::move(event), pending_);
}

bool SinkWorker::is_repeat(const sinks::Event& event, bool ordered) {
  // What the private stream brought, in whatever form, up to where the common one was joined.
  const bool repeated = overlap_ > 0 && event.xid < joined_at_.position && event.incarnation == joined_at_.incarnation;
  return repeated || place_.has(event, ordered, pending_);
}

void SinkWorker::beat_when_due(std::stop_token stop) {
  if (settings_.heartbeat.scope == sinks::HeartbeatScope::kOff || catch_up_) return;
  const MonotonicTime now = parts_.clock.now();
  if (now < next_beat_) return;
  next_beat_ = now + settings_.heartbeat.interval;
  std::vector<sinks::TenantMark> marks;
  Progress progress;
  {
    MutexLock lock(mutex_);
    const bool of_all = settings_.heartbeat.scope == sinks::HeartbeatScope::kSink;
    progress = of_all ? place_.even_progress() : place_.progress();
    if (progress.position == 0) return;
    if (settings_.heartbeat.scope == sinks::HeartbeatScope::kTenant) marks = place_.marks();
  }
  if (settings_.heartbeat.scope == sinks::HeartbeatScope::kTenant && marks.empty()) return;
  const Status sent = sink_->heartbeat(
      {progress.position, progress.snap_token, progress.incarnation, parts_.clock.unix_micros(), marks}, stop);
  if (!sent.ok()) log_warn("heartbeat_failed", {{"sink", name_}, {"error", describe(sent)}});
}

SinkWorker::Flush SinkWorker::flush(std::stop_token stop) {
  size_t done = 0;
  Flush outcome = Flush::kDone;
  if (!guarded(Guard::kCursorAfterAck)) acknowledge(0, pending_.size());
  while (done < pending_.size() && outcome == Flush::kDone) {
    {
      MutexLock lock(mutex_);
      oldest_in_hand_us_ = pending_[done].event->started_at_us;
    }
    const auto begin = std::chrono::steady_clock::now();
    const std::span<const sinks::Delivery> rest = std::span(pending_).subspan(done);
    const sinks::WriteResult result = sink_->write({rest, parts_.fence}, stop);
    const size_t written = std::min(result.written, rest.size());
    acknowledge(done, done + written);
    stop_behind_gaps(done, done + written);
    done += written;
    if (written > 0) {
      size_t bytes = 0;
      for (const sinks::Delivery& delivery : rest.first(written)) bytes += delivery.event->bytes();
      metrics_.on_written(written, bytes,
                          std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
      retry_.reset();
    }
    if (done == pending_.size()) break;
    outcome =
        on_write_failed(result.status.ok() && written == 0 ? internal_error("the sink wrote nothing and gave no reason")
                                                           : result.status,
                        done, stop);
  }
  if (outcome == Flush::kLeave) last_write_unknown_ = true;
  stopping_.clear();  // what was not told is met again
  MutexLock lock(mutex_);
  place_.end_batch(pending_);
  pending_.clear();
  status_.bytes_in_hand = 0;
  oldest_in_hand_us_ = 0;
  return outcome;
}

SinkWorker::Flush SinkWorker::on_write_failed(const Status& status, size_t done, std::stop_token stop) {
  if (status.ok()) return Flush::kDone;
  if (stop.stop_requested()) return Flush::kLeave;
  metrics_.on_write_failed();
  if (status.code() == StatusCode::kFailedPrecondition) {
    fenced(status);
    return Flush::kLeave;
  }
  if (status.code() == StatusCode::kInvalidArgument) {
    return poison(done, status, stop) ? Flush::kDone : Flush::kLeave;
  }
  change_state(SinkState::kRetrying, status);
  note_refusal(status, true);
  if (!commit_when_due(true, stop)) return Flush::kLeave;
  if (!parts_.clock.sleep(retry_.next(), stop)) return Flush::kLeave;
  if (needs_reopening(status)) {
    if (!open(stop)) return Flush::kLeave;
    // The sink may hold more, or less, than we know: what is pending is read and numbered again.
    bool moved = rewind_;
    {
      MutexLock lock(mutex_);
      for (size_t i = done; i < pending_.size() && !moved; ++i) {
        const TenantEntry* tenant = place_.tenants().find(pending_[i].event->tenant);
        const uint64_t known = tenant == nullptr ? 0 : tenant->sequence;
        moved = known >= pending_[i].sequence;
      }
    }
    if (moved) {
      rewind_ = true;
      return Flush::kRewound;
    }
  }
  return Flush::kDone;
}

void SinkWorker::acknowledge(size_t begin, size_t end) {
  if (begin == end) return;
  const int64_t now = parts_.clock.unix_micros();
  {
    MutexLock lock(mutex_);
    for (size_t i = begin; i < end; ++i) {
      const sinks::Event& event = *pending_[i].event;
      place_.acknowledged(pending_[i]);
      status_.bytes_in_hand -= std::min(status_.bytes_in_hand, event.bytes());
      if (event.started_at_us > 0) metrics_.on_delay(static_cast<double>(now - event.started_at_us) / 1e6);
    }
    status_.delivered += end - begin;
  }
  committer_.on_acknowledged(end - begin);
  MutexLock lock(mutex_);
  status_.uncommitted = committer_.uncommitted();
}

void SinkWorker::lose_place(const char* why) {
  log_warn("sink_catching_up", {{"sink", name_}, {"why", why}});
  reader_.reset();
  catch_up_.reset();
  overlap_ = 0;
}

bool SinkWorker::is_ahead() const {
  MutexLock lock(mutex_);
  return place_.is_ahead();
}

void SinkWorker::join_hub() {
  if (!catch_up_->ordered()) return;
  Progress progress;
  {
    MutexLock lock(mutex_);
    // The common stream does not have the rest of a snapshot, nor what a private one still has to read behind it.
    if (!place_.is_even()) return;
    progress = place_.progress();
  }
  std::unique_ptr<HubReader> reader = parts_.hub.try_join(progress.incarnation, progress.position);
  // Last, because it looks at every tenant.
  if (!reader || is_ahead()) return;
  reader_ = std::move(reader);
  joined_at_ = progress;
  overlap_ = reader_->items_behind();
  catch_up_.reset();
  metrics_.on_caught_up();
  log_info("sink_caught_up", {{"sink", name_}, {"position", progress.position}});
}

void SinkWorker::fenced(const Status& status) {
  fenced_ = true;
  metrics_.on_fenced();
  change_state(SinkState::kFenced, status);
  log_error("sink_fenced", {{"sink", name_}, {"error", describe(status)}});
}

void SinkWorker::note_error(const Status& error) {
  MutexLock lock(mutex_);
  status_.last_error = describe(error);
  status_.last_error_us = parts_.clock.unix_micros();
}

void SinkWorker::change_state(SinkState state, const Status& error) {
  if (!error.ok()) note_error(error);
  MutexLock lock(mutex_);
  const int64_t now = parts_.clock.unix_micros();
  if (status_.state == state) return;
  log_info("sink_state", {{"sink", name_},
                          {"from", state_word(status_.state)},
                          {"to", state_word(state)},
                          {"after_ms", (now - status_.since_us) / 1000},
                          {"error", error.ok() ? "" : describe(error)}});
  status_.state = state;
  status_.since_us = now;
}

}  // namespace headgate::relay
