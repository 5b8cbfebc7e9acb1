// Decides when a sink's cursors go to the token store, and copes with a store that is away.
//
// Belongs to the sink's worker. The store is waited for by a thread of its own, so that events flow while a commit is
// on its way to the disk; at most one commit is under way.
#pragma once

#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/backoff.h"
#include "base/mutex.h"
#include "relay/delivery/metrics.h"
#include "relay/delivery/place.h"
#include "relay/tokens/token_store.h"

namespace headgate::relay {

struct CommitSettings {
  size_t events_max = 1000;           // acknowledged events after which a commit is due
  Duration interval{1'000};           // the oldest uncommitted event waits no longer than this
  Duration idle{20};                  // ... and no longer than this when nothing more comes
  Duration progress_interval{5'000};  // how often progress alone is worth a commit
  size_t uncommitted_max = 20'000;    // the sink waits for the store beyond this many
  BackoffSettings retry{Duration(100), Duration(5'000)};
};

class Committer {
 public:
  struct Parts {
    TokenStore& store;
    Clock& clock;
    SinkMetrics& metrics;
  };
  // Of one commit. OK: the cursors are stored. FAILED_PRECONDITION: fenced. After any other failure the changes are the
  // caller's again, and due() stays false for a back-off.
  struct Outcome {
    Status status;
    std::vector<CursorUpdate> updates;
  };

  Committer(Parts parts, CommitSettings settings, std::string sink, Fence fence);
  // Waits for the commit that is under way.
  ~Committer();
  Committer(const Committer&) = delete;
  Committer& operator=(const Committer&) = delete;

  void on_acknowledged(size_t events);
  // `idle`: the ring has nothing more for now. False while a commit is under way.
  bool due(const SinkPlace& place, bool idle) const;
  // REQUIRES: none is under way.
  void start(std::vector<CursorUpdate> updates);
  // The outcome of the commit that was under way, once it has ended; nothing without one.
  std::optional<Outcome> outcome();
  // The same, and waits for it.
  std::optional<Outcome> wait_for_outcome();
  size_t uncommitted() const { return uncommitted_; }
  bool must_wait() const { return uncommitted_ >= settings_.uncommitted_max; }
  // How long a reader may wait for more before due(place, true) should be asked.
  Duration idle_wait(const SinkPlace& place) const;

 private:
  void run(std::stop_token stop);
  // Nothing when stopped.
  std::optional<std::vector<CursorUpdate>> next_job(std::stop_token stop);
  void settle(const Outcome& outcome);

  const Parts parts_;
  const CommitSettings settings_;
  const std::string sink_;
  const Fence fence_;

  // Of the worker's thread.
  Backoff backoff_;
  size_t uncommitted_ = 0;
  size_t in_flight_ = 0;  // of them, those that the commit under way covers
  bool under_way_ = false;
  MonotonicTime oldest_{};  // when the first event was acknowledged that no commit covers yet
  MonotonicTime last_commit_{};
  MonotonicTime not_before_{};
  bool progress_committed_ = false;

  Mutex mutex_;
  Condition changed_;
  std::optional<std::vector<CursorUpdate>> job_ GUARDED_BY(mutex_);
  std::optional<Outcome> done_ GUARDED_BY(mutex_);
  std::jthread thread_;  // last: it uses all of the above
};

}  // namespace headgate::relay
