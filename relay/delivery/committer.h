// Decides when a sink's cursors go to the token store, and copes with a store that is away. One thread.
#pragma once

#include <string>

#include "base/backoff.h"
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

  Committer(Parts parts, CommitSettings settings, std::string sink, Fence fence)
      : parts_(parts),
        settings_(settings),
        sink_(std::move(sink)),
        fence_(fence),
        backoff_(settings.retry, random_seed()) {}

  void on_acknowledged(size_t events);
  // `idle`: the ring has nothing more for now.
  bool due(const SinkPlace& place, bool idle) const;
  // One attempt. OK: the caller marks the place clean. FAILED_PRECONDITION: fenced. After any other failure due() stays
  // false for a back-off.
  Status commit(std::span<const CursorUpdate> updates);
  Status forget(const std::string& tenant) { return parts_.store.forget(tenant, fence_); }

  size_t uncommitted() const { return uncommitted_; }
  bool must_wait() const { return uncommitted_ >= settings_.uncommitted_max; }
  // How long a reader may wait for more before due(place, true) should be asked.
  Duration idle_wait(const SinkPlace& place) const;

 private:
  const Parts parts_;
  const CommitSettings settings_;
  const std::string sink_;
  const Fence fence_;
  Backoff backoff_;
  size_t uncommitted_ = 0;
  MonotonicTime oldest_{};
  MonotonicTime last_commit_{};
  MonotonicTime not_before_{};
  bool progress_committed_ = false;
};

}  // namespace headgate::relay
