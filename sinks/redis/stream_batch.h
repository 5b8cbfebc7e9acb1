// A batch by its tenants: which keys their events go to, and how far they have come. A pure value.
#pragma once

#include <string>
#include <vector>

#include "base/redis/client.h"
#include "sinks/redis/stream_routes.h"
#include "sinks/sink.h"

namespace headgate::sinks {

// The events of one tenant.
struct TenantRun {
  StreamKeys keys;
  std::vector<size_t> indexes;  // of the batch's deliveries, in order
  size_t next = 0;              // into `indexes`: the first that is not known to be stored
  size_t end = 0;               // into `indexes`: behind the last that may be sent
  // Of this pass over the batch:
  redis::Connection* connection = nullptr;  // nullptr: not to be sent now
  uint16_t slot = 0;                        // in a cluster; keys of different slots have no transaction
  bool asking = false;                      // ASK has led here
  std::string elsewhere;                    // the error that says that the keys are not there: MOVED, ASK, TRYAGAIN
};

class StreamBatch {
 public:
  StreamBatch(const Batch& batch, const StreamRoutes& routes);

  std::vector<TenantRun>& runs() { return runs_; }
  const Fence& fence() const { return batch_.fence; }
  size_t size() const { return status_.size(); }
  const Delivery& delivery(const TenantRun& run, size_t at) const { return batch_.deliveries[run.indexes[at]]; }

  // Sequence of the event before the one at `at`, without which that one may not be stored; 0: none of this batch.
  uint64_t required(const TenantRun& run, size_t at) const { return at == 0 ? 0 : delivery(run, at - 1).sequence; }
  // The outcome of the events [begin, end) of a run.
  void set(const TenantRun& run, size_t begin, size_t end, const Status& status) {
    for (size_t at = begin; at < end; ++at) status_[run.indexes[at]] = status;
  }
  // The event at `at` cannot be sent, and so its followers may not be.
  void refuse(TenantRun& run, size_t at, const Status& status) {
    set(run, at, run.end, status);
    run.end = at;
  }
  WriteResult result() const;

 private:
  const Batch& batch_;
  std::vector<TenantRun> runs_;
  std::vector<Status> status_;  // of each delivery
};

}  // namespace headgate::sinks
