// The two kinds of sessions: what their messages look like.
#pragma once

#include <string>

#include "engine/watch/session.h"

namespace headgate::engine {

// base.v1.Watch: a WatchResponse per message of the feed; its bytes are shared by all streams that carry it.
class WatchSession : public StreamSession {
 public:
  using StreamSession::StreamSession;

 protected:
  void encode(const Pull& pull, Messages* out) override;
  void encode_heartbeat(uint64_t position, Messages* out) override;
};

// headgate.v1.Feed: batches, events of tenants, and a heartbeat with the position behind each.
class FeedSession : public StreamSession {
 public:
  using StreamSession::StreamSession;

 protected:
  void encode(const Pull& pull, Messages* out) override;
  void encode_heartbeat(uint64_t position, Messages* out) override;
  bool closes_with_heartbeat() const override { return true; }

 private:
  // Where a tenant that failed could start: at least the horizon of the opening, however little was read since.
  uint64_t head_ = 1;
};

}  // namespace headgate::engine
