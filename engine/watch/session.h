// One stream of a client between the feed and gRPC: pulls what the feed has, one write in flight at a time.
//
// Threads: wake() comes from the feed, the on_*() from gRPC, advance() from the host's thread. One mutex orders them.
// The reactor owns the session until OnDone; the feed only knows it weakly.
#pragma once

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <deque>
#include <memory>
#include <optional>

#include "base/mutex.h"
#include "engine/feed/feed.h"

namespace headgate::engine {

class SessionHost;
using StreamReactor = grpc::ServerWriteReactor<grpc::ByteBuffer>;

class StreamSession : public Wakeup, public std::enable_shared_from_this<StreamSession> {
 public:
  // `heartbeat` zero: none.
  StreamSession(SessionHost& host, grpc::CallbackServerContext* context, ReadLimit limit, Duration heartbeat);
  ~StreamSession() override;

  // Once, before anything else; `reactor` stays valid until on_done().
  void begin(StreamReactor* reactor, Feed& feed, StreamRequest request);
  void wake() override;
  // Writes when there is something to write and no write is under way.
  void advance();
  // Ends the stream with our status as soon as the write under way is over.
  void end(const Status& status, std::optional<Duration> retry_after);
  // Ends it without waiting for the client.
  void cancel();
  bool heartbeat_due(MonotonicTime now) const;

  void on_metadata_done(bool ok);
  void on_write_done(bool ok);
  void on_cancel();
  void on_done();

 protected:
  using Messages = std::deque<grpc::ByteBuffer>;
  virtual void encode(const Pull& pull, Messages* out) = 0;
  virtual void encode_heartbeat(uint64_t position, const TransactionIdentity& newest, Messages* out) = 0;
  // True when a heartbeat with this position follows what was sent, as soon as nothing more is there.
  virtual bool closes_with_heartbeat(uint64_t) const { return false; }

 private:
  friend class SessionHost;
  void push_locked() REQUIRES_LOCK(mutex_);
  bool fill_locked() REQUIRES_LOCK(mutex_);  // false when the stream has ended
  void announce_locked(const StreamOpening& opening) REQUIRES_LOCK(mutex_);
  void go_on_locked(bool ok) REQUIRES_LOCK(mutex_);
  void finish_locked(const Status& status, std::optional<Duration> retry_after) REQUIRES_LOCK(mutex_);

  SessionHost& host_;
  grpc::CallbackServerContext* const context_;
  const ReadLimit limit_;
  const Duration heartbeat_;
  std::atomic<bool> queued_ = false;  // waits in the host's queue
  std::atomic<int64_t> sent_at_ = 0;  // steady clock, for heartbeats; 0 before the opening

  Mutex mutex_;
  StreamReactor* reactor_ GUARDED_BY(mutex_) = nullptr;  // null before begin() and behind on_done()
  std::shared_ptr<FeedStream> stream_ GUARDED_BY(mutex_);
  Messages out_ GUARDED_BY(mutex_);  // the front is being written when writing_, unless it is empty
  // A write, or initial metadata alone, is under way. Never two operations at once: gRPC 1.51 was seen to lose the end
  // of a stream that was cancelled while both were.
  bool writing_ GUARDED_BY(mutex_) = false;
  // The initial metadata is complete and goes out with what is written next.
  bool unannounced_ GUARDED_BY(mutex_) = false;
  bool finishing_ GUARDED_BY(mutex_) = false;
  bool cancelled_ GUARDED_BY(mutex_) = false;  // the client has gone
  bool unclosed_ GUARDED_BY(mutex_) = false;   // something was sent behind which no heartbeat went out yet
  uint64_t position_ GUARDED_BY(mutex_) = 0;
  Status end_ GUARDED_BY(mutex_);
  std::optional<Duration> retry_after_ GUARDED_BY(mutex_);
  bool ended_by_us_ GUARDED_BY(mutex_) = false;
};

}  // namespace headgate::engine
