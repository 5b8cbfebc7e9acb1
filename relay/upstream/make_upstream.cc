#include <atomic>

#include "base/log.h"
#include "relay/upstream/feed_upstream.h"
#include "relay/upstream/settings.h"
#include "relay/upstream/watch_upstream.h"

namespace headgate::relay {

namespace {

// Feed until the engine says that it has none, from then on Watch.
class AutoUpstream : public Upstream {
 public:
  AutoUpstream(UpstreamSettings settings, ChannelMaker maker, TokenBucket& budget, Clock& clock)
      : feed_(settings, maker), watch_(settings, maker, budget, clock) {}

  Status run(UpstreamRequest& request, UpstreamListener& listener, std::stop_token stop) override {
    if (!use_watch_) {
      Status status = feed_.run(request, listener, stop);
      if (status.code() != StatusCode::kUnimplemented) return status;
      use_watch_ = true;
      log_info("source_kind", {{"kind", "watch"}, {"why", "the engine does not offer headgate.v1.Feed"}});
    }
    return watch_.run(request, listener, stop);
  }
  StatusOr<std::vector<std::string>> tenants() override { return feed_.tenants(); }
  StatusOr<SnapshotPage> read_snapshot(const std::string& tenant, const std::string& snap_token,
                                       const std::string& continuation) override {
    return use_watch_ ? watch_.read_snapshot(tenant, snap_token, continuation)
                      : feed_.read_snapshot(tenant, snap_token, continuation);
  }
  void set_key(const std::string& key) override { feed_.set_key(key); }  // which both share

 private:
  FeedUpstream feed_;
  WatchUpstream watch_;
  std::atomic<bool> use_watch_{false};
};

}  // namespace

StatusOr<std::unique_ptr<Upstream>> make_upstream(const UpstreamSettings& settings, TokenBucket& budget, Clock& clock) {
  HG_ASSIGN_OR_RETURN(ChannelMaker maker, ChannelMaker::create(settings));
  switch (settings.kind) {
    case UpstreamKind::kFeed: return std::make_unique<FeedUpstream>(settings, maker);
    case UpstreamKind::kWatch: return std::make_unique<WatchUpstream>(settings, maker, budget, clock);
    case UpstreamKind::kAuto: return std::make_unique<AutoUpstream>(settings, maker, budget, clock);
  }
  return internal_error("unknown kind of source");
}

}  // namespace headgate::relay
