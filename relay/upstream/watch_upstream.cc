#include "relay/upstream/watch_upstream.h"

#include "relay/upstream/watch_run.h"

namespace headgate::relay {

WatchUpstream::WatchUpstream(UpstreamSettings settings, ChannelMaker maker, TokenBucket& budget, Clock& clock)
    : settings_(std::move(settings)), maker_(std::move(maker)), budget_(budget), clock_(clock) {
  MutexLock lock(mutex_);
  connect();
}

void WatchUpstream::connect() {
  channels_.clear();
  for (int i = 0; i < settings_.watch_channels; ++i) channels_.push_back(maker_.make(settings_.watch_keepalive));
  connections_ = std::make_unique<ConnectionWatch>(channels_);
}

std::vector<std::shared_ptr<grpc::Channel>> WatchUpstream::channels() const {
  MutexLock lock(mutex_);
  return channels_;
}

void WatchUpstream::renew(const std::vector<std::shared_ptr<grpc::Channel>>& silent) {
  std::unique_ptr<ConnectionWatch> before;  // whose thread is joined without the lock
  MutexLock lock(mutex_);
  if (channels_ != silent) return;
  before = std::move(connections_);
  connect();
}

Status WatchUpstream::run(UpstreamRequest& request, UpstreamListener& listener, std::stop_token stop) {
  const auto used = channels();
  WatchRun run({settings_, maker_, used, budget_, clock_}, request, listener);
  const Status status = run.run(stop);
  if (run.was_silent()) renew(used);
  return status;
}

StatusOr<std::vector<std::string>> WatchUpstream::tenants() {
  const auto used = channels();
  auto listed = list_tenants(used.front(), maker_, settings_.call_timeout);
  if (listed.status().code() == StatusCode::kDeadlineExceeded) renew(used);
  return listed;
}

StatusOr<SnapshotPage> WatchUpstream::read_snapshot(const std::string&, const std::string&, const std::string&) {
  return make_status(StatusCode::kUnimplemented, "a source that is read through plain Watch offers no snapshots");
}

}  // namespace headgate::relay
