#include "engine/watch/session.h"

#include "engine/api/grpc_call.h"
#include "engine/rpc/error_details.h"
#include "engine/watch/session_host.h"

namespace headgate::engine {

namespace {

int64_t ticks(MonotonicTime time) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(time.time_since_epoch()).count();
}

}  // namespace

StreamSession::StreamSession(SessionHost& host, grpc::CallbackServerContext* context, ReadLimit limit,
                             Duration heartbeat)
    : host_(host), context_(context), limit_(limit), heartbeat_(heartbeat) {}

StreamSession::~StreamSession() = default;

void StreamSession::begin(StreamReactor* reactor, Feed& feed, StreamRequest request) {
  {
    MutexLock lock(mutex_);
    reactor_ = reactor;
    stream_ = feed.open(std::move(request), weak_from_this());
  }
  // The feed may have been ready before it was known whom to wake.
  wake();
}

void StreamSession::wake() { host_.post(shared_from_this()); }

void StreamSession::advance() {
  MutexLock lock(mutex_);
  if (reactor_ != nullptr && !finishing_ && !writing_) push_locked();
}

void StreamSession::push_locked() {
  if (out_.empty() && !fill_locked()) return;
  const bool announce = std::exchange(unannounced_, false);
  if (out_.empty() && !announce) return;
  writing_ = true;
  if (out_.empty()) {
    reactor_->StartSendInitialMetadata();
    return;
  }
  grpc::WriteOptions options;
  // Initial metadata waits for the transport, so a write that carries it must not be held back for the next one.
  if (out_.size() > 1 && !announce) options.set_buffer_hint();
  host_.count_message(out_.front().Length());
  reactor_->StartWrite(&out_.front(), options);
}

bool StreamSession::fill_locked() {
  TransactionIdentity newest;
  while (out_.empty()) {
    auto pull = stream_->pull(limit_);
    if (!pull.ok()) {
      finish_locked(pull.status(), std::nullopt);
      return false;
    }
    position_ = pull->position;
    newest = std::move(pull->newest);
    if (pull->opening) announce_locked(*pull->opening);
    if (pull->idle()) break;
    encode(*pull, &out_);
    unclosed_ = true;
  }
  const MonotonicTime now = system_clock().now();
  if (out_.empty() && ((unclosed_ && closes_with_heartbeat(position_)) || heartbeat_due(now)) && position_ != 0) {
    encode_heartbeat(position_, newest, &out_);
    unclosed_ = false;
  }
  if (!out_.empty()) sent_at_ = ticks(now);
  return true;
}

bool StreamSession::heartbeat_due(MonotonicTime now) const {
  const int64_t sent_at = sent_at_;
  return heartbeat_ != Duration::zero() && sent_at != 0 && ticks(now) - sent_at >= heartbeat_.count();
}

void StreamSession::announce_locked(const StreamOpening& opening) {
  context_->AddInitialMetadata("headgate-incarnation", opening.incarnation);
  context_->AddInitialMetadata("headgate-start-token", opening.snap_token);
  unannounced_ = true;
  sent_at_ = ticks(system_clock().now());
}

void StreamSession::end(const Status& status, std::optional<Duration> retry_after) {
  MutexLock lock(mutex_);
  if (reactor_ == nullptr || finishing_ || ended_by_us_) return;
  ended_by_us_ = true;
  end_ = status;
  retry_after_ = retry_after;
  if (!writing_) finish_locked(end_, retry_after_);
}

void StreamSession::cancel() {
  MutexLock lock(mutex_);
  if (reactor_ != nullptr) context_->TryCancel();
}

void StreamSession::on_metadata_done(bool ok) {
  MutexLock lock(mutex_);
  // Metadata that went out with a write is not an operation of its own.
  if (writing_ && out_.empty()) go_on_locked(ok);
}

void StreamSession::on_write_done(bool ok) {
  MutexLock lock(mutex_);
  out_.pop_front();
  go_on_locked(ok);
}

void StreamSession::go_on_locked(bool ok) {
  writing_ = false;
  if (finishing_) return;
  if (ended_by_us_) {
    finish_locked(end_, retry_after_);
  } else if (!ok || cancelled_) {
    finish_locked(make_status(StatusCode::kCancelled, "the client has gone"), std::nullopt);
  } else {
    push_locked();
  }
}

void StreamSession::on_cancel() {
  MutexLock lock(mutex_);
  // A write under way finishes the stream when it is over; it may still have succeeded.
  cancelled_ = true;
  if (!finishing_ && !writing_) finish_locked(make_status(StatusCode::kCancelled, "cancelled"), std::nullopt);
}

void StreamSession::on_done() {
  std::shared_ptr<FeedStream> stream;
  {
    MutexLock lock(mutex_);
    reactor_ = nullptr;
    stream = std::move(stream_);
  }
  stream.reset();
  host_.remove(*this);
}

void StreamSession::finish_locked(const Status& status, std::optional<Duration> retry_after) {
  finishing_ = true;
  if (status.code() != StatusCode::kCancelled) host_.count_failure();
  reactor_->Finish(to_grpc(with_details(status, retry_after)));
}

}  // namespace headgate::engine
