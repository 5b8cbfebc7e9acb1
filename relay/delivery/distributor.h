// One source, one hub, many sinks: starts everything at the right place and stops it in the right order.
//
// The main session starts where the most advanced sink is; sinks that are behind it read on private streams until they
// have caught up. start() and stop() are called by one thread; the rest from anywhere.
#pragma once

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "relay/delivery/session.h"
#include "relay/delivery/sink_worker.h"

namespace headgate::relay {

struct DistributorSettings {
  SessionSettings session;
  size_t hub_bytes = 64 << 20;
};

struct SinkPart {
  std::unique_ptr<sinks::Sink> sink;
  WorkerSettings settings;
};

class Distributor {
 public:
  struct Parts {
    Upstream& upstream;
    TokenStore& store;
    Clock& clock;
    Metrics& metrics;
    TokenBucket& budget;
  };

  Distributor(Parts parts, DistributorSettings settings);
  ~Distributor();
  Distributor(const Distributor&) = delete;
  Distributor& operator=(const Distributor&) = delete;

  // Loads all cursors and starts the threads. An error of the token store is returned and nothing runs then.
  Status start(std::vector<SinkPart> sinks, const Fence& fence);
  // The source stops, sinks finish what the hub holds for at most `drain`, cursors are committed, threads end. May be
  // called twice.
  void stop(Duration drain);

  // See RelayControl::resume().
  Status resume(const ResumeOrder& order);

  SessionStatus source() const { return session_->status(); }
  std::vector<SinkStatus> sinks() const;
  // One line for each tenant and sink.
  std::vector<TenantStatus> tenants(const TenantQuery& query) const;
  const Hub& hub() const { return hub_; }
  size_t hub_bytes_max() const { return settings_.hub_bytes; }
  // True when a newer relay has taken a sink or the token store over.
  bool fenced() const;

 private:
  std::unique_ptr<Session> make_session(Hub& hub, SourcePlace start, const std::string& name);

  const Parts parts_;
  const DistributorSettings settings_;
  Hub hub_;
  std::shared_ptr<TenantNames> names_ = std::make_shared<TenantNames>();  // of all sinks
  std::vector<std::unique_ptr<SinkWorker>> workers_;
  std::unique_ptr<Session> session_;
  std::jthread session_thread_;
};

}  // namespace headgate::relay
