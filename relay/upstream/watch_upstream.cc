#include "relay/upstream/watch_upstream.h"

#include "relay/upstream/watch_run.h"

namespace headgate::relay {

WatchUpstream::WatchUpstream(UpstreamSettings settings, ChannelMaker maker, TokenBucket& budget, Clock& clock)
    : settings_(std::move(settings)), maker_(std::move(maker)), budget_(budget), clock_(clock) {
  for (int i = 0; i < settings_.watch_channels; ++i) channels_.push_back(maker_.make(settings_.watch_keepalive));
  connections_.emplace(channels_);
}

Status WatchUpstream::run(UpstreamRequest& request, UpstreamListener& listener, std::stop_token stop) {
  WatchRun run({settings_, maker_, channels_, budget_, clock_}, request, listener);
  return run.run(stop);
}

StatusOr<std::vector<std::string>> WatchUpstream::tenants() {
  return list_tenants(channels_.front(), maker_, settings_.call_timeout);
}

StatusOr<SnapshotPage> WatchUpstream::read_snapshot(const std::string&, const std::string&, const std::string&) {
  return make_status(StatusCode::kUnimplemented, "a source that is read through plain Watch offers no snapshots");
}

}  // namespace headgate::relay
