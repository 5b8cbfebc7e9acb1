// One run of the Watch upstream: which tenants have a stream, when a broken one is opened again, what is told to the
// listener. One thread; the list of tenants is fetched by another.
#pragma once

#include <map>
#include <memory>
#include <random>
#include <thread>

#include "relay/upstream/watch_stream.h"

namespace headgate::relay {

class WatchRun {
 public:
  struct Parts {
    const UpstreamSettings& settings;
    const ChannelMaker& maker;
    const std::vector<std::shared_ptr<grpc::Channel>>& channels;
    TokenBucket& budget;
    Clock& clock;
  };

  WatchRun(Parts parts, const UpstreamRequest& request, UpstreamListener& listener);
  Status run(std::stop_token stop);
  // A connection had stopped to answer, so the run ended; what comes next needs other connections.
  bool was_silent() const { return silent_; }

 private:
  struct Tenant {
    std::shared_ptr<WatchStream> stream;  // null while it waits to be opened again
    std::string token;
    uint64_t xid = 0;  // of the last event, with its part
    uint32_t part = 0;
    int attempt = 0;
    bool failed = false;
    bool at_head = false;  // the stream began at the head: what was before its first message is missing
    bool foreign = false;  // the token is another tenant's, used as a point in time
    bool renewing = false;
    std::string seed;  // the newest token of others when a stream from the head was opened
    size_t channel = 0;
    MonotonicTime opened_at{};
    bool removed = false;
    int missing = 0;  // lists in a row that did not name it
  };
  struct Sample {
    MonotonicTime at;
    std::string token;
  };

  void ask_in_turns(std::stop_token stop);
  void loop(std::stop_token stop);
  void on_note(WatchNote& note);
  void on_listed(const TenantsListed& listed);
  void on_probed(const ChannelProbed& probed);
  void on_message(const std::string& name);
  void tell_start_at_head(const std::string& name, Tenant& tenant);
  void on_ended(const WatchEnded& ended);
  void add_tenant(const std::string& name);
  void remove_tenant(const std::string& name, Tenant& tenant);
  void open_due();
  void renew_silent();
  void schedule(const std::string& name, Duration wait);
  Duration full_jitter(int attempt);
  void hand_over();
  void tell_progress();
  void end_streams();
  void take_ends(Duration timeout);

  const Parts parts_;
  const UpstreamRequest& request_;
  UpstreamListener& listener_;
  std::vector<std::unique_ptr<base::v1::Watch::Stub>> stubs_;
  const std::shared_ptr<WatchInbox> inbox_ = std::make_shared<WatchInbox>();
  std::map<std::string, Tenant> tenants_;
  std::multimap<MonotonicTime, std::string> due_;  // streams to open
  std::mt19937_64 random_;
  std::vector<EventPtr> events_;
  std::vector<WatchStream*> taken_;  // whose message is in events_
  size_t next_stub_ = 0;
  size_t open_ = 0;
  bool first_list_ = true;
  bool opened_ = false;
  bool enough_ = false;
  Status fatal_;
  std::string newest_token_;
  std::string seed_token_;  // older than any tenant that is not known yet
  std::deque<Sample> samples_;
  MonotonicTime unhealthy_at_;
  std::vector<MonotonicTime> heard_;  // by channel: when the last message came
  std::string renewed_;               // the tenant whose stream was last looked at
  bool silent_ = false;
};

}  // namespace headgate::relay
