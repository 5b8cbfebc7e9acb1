// headgate.v1.Feed as an Upstream: one ordered stream for all tenants.
//
// run() reads on the caller's thread with deadlines, so silence is noticed: a stream without a heartbeat for too long
// ends with UNAVAILABLE, and its connection is given up with it. While the listener blocks nothing is read, which is
// the back-pressure to the engine.
#pragma once

#include "base/mutex.h"
#include "relay/upstream/channel.h"
#include "relay/upstream/connection_watch.h"

namespace headgate::relay {

class FeedUpstream : public Upstream {
 public:
  FeedUpstream(UpstreamSettings settings, ChannelMaker maker);

  Status run(UpstreamRequest& request, UpstreamListener& listener, std::stop_token stop) override;
  StatusOr<std::vector<std::string>> tenants() override;
  StatusOr<SnapshotPage> read_snapshot(const std::string& tenant, const std::string& snap_token,
                                       const std::string& continuation) override;
  void set_key(const std::string& key) override { maker_.set_key(key); }

 private:
  std::shared_ptr<grpc::Channel> channel() const;
  // Later calls get a new connection, unless somebody has seen to it already.
  void give_up(const std::shared_ptr<grpc::Channel>& channel);

  const UpstreamSettings settings_;
  const ChannelMaker maker_;
  mutable Mutex mutex_;
  std::shared_ptr<grpc::Channel> channel_ GUARDED_BY(mutex_);
  std::unique_ptr<ConnectionWatch> watch_ GUARDED_BY(mutex_);  // over that channel
};

}  // namespace headgate::relay
