// base.v1.Watch as an Upstream: one stream a tenant over a few connections, for any engine of that contract.
//
// Streams use gRPC's callback API; its threads only put what they got into the inbox of run(), whose thread does all
// the rest. A stream reads its next message once the last one was taken, so a slow listener holds the engine back. What
// the inbox holds is therefore bounded by one message a stream.
//
// Connections that were swallowed are replaced (WatchRun::on_probed). Cannot be noticed from outside, and is not
// guarded against yet: a server that goes on with a stream whose position it has forgotten, and says nothing.
#pragma once

#include <memory>
#include <vector>

#include "base/mutex.h"
#include "relay/upstream/channel.h"
#include "relay/upstream/connection_watch.h"

namespace headgate::relay {

class WatchUpstream : public Upstream {
 public:
  WatchUpstream(UpstreamSettings settings, ChannelMaker maker, TokenBucket& budget, Clock& clock);

  // Errors that hit every stream alike (no such service, wrong key) end it; a stream that breaks alone is opened again.
  Status run(UpstreamRequest& request, UpstreamListener& listener, std::stop_token stop) override;
  StatusOr<std::vector<std::string>> tenants() override;
  StatusOr<SnapshotPage> read_snapshot(const std::string& tenant, const std::string& snap_token,
                                       const std::string& continuation) override;
  void set_key(const std::string& key) override { maker_.set_key(key); }

 private:
  std::vector<std::shared_ptr<grpc::Channel>> channels() const;
  // In place of connections that do not answer any more, unless somebody else has replaced them already.
  void renew(const std::vector<std::shared_ptr<grpc::Channel>>& silent);
  void connect() REQUIRES_LOCK(mutex_);

  const UpstreamSettings settings_;
  const ChannelMaker maker_;
  TokenBucket& budget_;
  Clock& clock_;
  mutable Mutex mutex_;
  std::vector<std::shared_ptr<grpc::Channel>> channels_ GUARDED_BY(mutex_);
  std::unique_ptr<ConnectionWatch> connections_ GUARDED_BY(mutex_);
};

}  // namespace headgate::relay
