// The two kinds of sessions: what their messages look like.
#pragma once

#include <string>

#include "engine/watch/session.h"
#include "engine/watch/watch_service.h"

namespace headgate::engine {

// base.v1.Watch: a WatchResponse per message of the feed; its bytes are shared by all streams that carry it.
class WatchSession : public StreamSession {
 public:
  using StreamSession::StreamSession;

 protected:
  void encode(const Pull& pull, Messages* out) override;
  void encode_heartbeat(uint64_t position, const TransactionIdentity& newest, Messages* out) override;

 private:
  uint64_t reached_ = 0;  // the position behind the last transaction sent
};

// headgate.v1.Feed: batches, events of tenants, and a heartbeat with the position that they do not tell themselves.
class FeedSession : public StreamSession {
 public:
  FeedSession(SessionHost& host, grpc::CallbackServerContext* context, ReadLimit limit, Duration heartbeat,
              FeedLimits limits)
      : StreamSession(host, context, limit, heartbeat), limits_(limits) {}

 protected:
  void encode(const Pull& pull, Messages* out) override;
  void encode_heartbeat(uint64_t position, const TransactionIdentity& newest, Messages* out) override;
  // The last transaction of a batch is a position by itself.
  bool closes_with_heartbeat(uint64_t position) const override { return position > implied_; }

 private:
  const FeedLimits limits_;
  // Where a tenant that failed could start: at least the horizon of the opening, however little was read since.
  uint64_t head_ = 1;
  uint64_t implied_ = 0;  // the position behind the last transaction sent; 0 inside of one
};

}  // namespace headgate::engine
