// headgate.v1.Feed as an Upstream: one ordered stream for all tenants.
//
// run() reads on the caller's thread with deadlines, so silence is noticed: a stream without a heartbeat for too long
// ends with UNAVAILABLE. While the listener blocks nothing is read, which is the back-pressure to the engine.
#pragma once

#include "relay/upstream/channel.h"
#include "relay/upstream/connection_watch.h"

namespace headgate::relay {

class FeedUpstream : public Upstream {
 public:
  FeedUpstream(UpstreamSettings settings, ChannelMaker maker);

  Status run(const UpstreamRequest& request, UpstreamListener& listener, std::stop_token stop) override;
  StatusOr<std::vector<std::string>> tenants() override;

 private:
  const UpstreamSettings settings_;
  const ChannelMaker maker_;
  const std::shared_ptr<grpc::Channel> channel_;
  ConnectionWatch connections_{{channel_}};
};

}  // namespace headgate::relay
