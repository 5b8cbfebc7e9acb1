// Keeps one upstream stream alive and puts what it says into a hub: reconnects with back-off and a budget, resumes at
// the right place, and turns lost history into an explicit GAP or a visible failure.
//
// run() blocks on the caller's thread; everything else may be called from any thread.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "base/backoff.h"
#include "relay/delivery/metrics.h"
#include "relay/delivery/place.h"
#include "relay/delivery/snapshots.h"
#include "relay/hub/hub.h"
#include "relay/upstream/upstream.h"

namespace headgate::relay {

struct SessionSettings {
  TenantSelection tenants;
  StartPolicy default_start = StartPolicy::kHead;
  GapPolicy on_gap = GapPolicy::kSnapshot;
  BackoffSettings backoff{Duration(200), Duration(30'000)};
};

struct SessionStatus {
  enum class State { kConnecting, kOpen, kWaiting, kHistoryLost, kEnded };
  State state = State::kConnecting;
  int64_t since_us = 0;
  std::string last_error;
  std::optional<RefusalKind> refusal;  // while it waits: of which kind last_error is
  std::string incarnation;
  bool ordered = false;
  uint64_t position = 0;
  uint64_t opened = 0;   // how often the stream stood
  uint64_t retries = 0;  // how often it had to be opened again
  uint64_t gaps = 0;     // GAP events made
  uint64_t events = 0;
  size_t failed_tenants = 0;
  size_t snapshots = 0;  // due or being read
};

// For /status and metrics, in the words that appear there.
const char* state_word(SessionStatus::State state);

class Session : private UpstreamListener {
 public:
  struct Parts {
    Upstream& upstream;
    Hub& hub;
    TokenBucket& budget;  // of all connections of the process
    Clock& clock;
    Metrics& metrics;
  };

  Session(Parts parts, SessionSettings settings, std::string name, SourcePlace start);

  // Until stop is requested.
  void run(std::stop_token stop);
  SessionStatus status() const;
  // A tenant whose start was refused is asked for again; nothing happens when it was not. Does not wait.
  void resume(const ResumeOrder& order);

 private:
  void on_limits(size_t changes_bytes_max) override { told_bytes_ = changes_bytes_max; }
  void on_opened(const std::string& incarnation, bool ordered) override;
  bool on_events(std::vector<EventPtr> events) override;
  void on_progress(const Progress& mark) override;
  void on_tenant_failed(const TenantFailure& failure) override;
  void on_tenant_starts_later(const TenantFailure& failure) override;
  void on_tenant_removed(const std::string& tenant) override;

  Status run_once(std::stop_token stop);
  StatusOr<UpstreamRequest> request();
  StatusOr<std::set<std::string>> tenant_names();
  Duration wait_after(const Status& status);
  Duration history_lost(const Status& status);
  void resume_snapshots();
  // Every tenant of the source that nothing is known of gets a snapshot.
  void snapshot_new_tenants();
  void snapshot(const std::vector<std::string>& tenants, bool flows, std::vector<HubItem> items);
  // Publishes the ends of snapshots; opens the stream again for those that have to be read on from their position.
  void settle_snapshots();
  void resume_tenants();
  void read_life_of(const std::string& tenant, uint64_t told);
  void end_snapshot(const Snapshots::Done& done);
  void go_on_without_snapshot(const std::string& tenant, const Status& why);
  void gap_for_all(const Progress& mark);
  bool is_wanted(const Event& event);
  void publish(std::vector<HubItem> items);
  void count_gap();
  void publish_gap(const TenantFailure& failure, const std::string& token, std::vector<HubItem>& items);
  // Whether the tenant stands still by the policy.
  void note_failed(const std::string& tenant, bool failed);
  void change_state(SessionStatus::State state, const std::string& error);
  void note_refusal(std::optional<RefusalKind> kind);

  const Parts parts_;
  const SessionSettings settings_;
  const std::string name_;
  Backoff backoff_;
  SessionMetrics metrics_;

  // Of the thread in run() and the upstream's calls, which are never at the same time.
  SourcePlace place_;
  Snapshots snapshots_;
  std::vector<Snapshots::Done> reread_;  // published, and to be read on from their position by a new stream
  MonotonicTime reread_since_{};
  // Deleted while their snapshot was due, and not yet told; with the xid of what was published of the snapshot.
  std::map<std::string, uint64_t> not_found_;
  std::set<std::string> failed_;  // stopped by the policy
  std::string incarnation_;
  size_t told_bytes_ = 0;                   // by on_limits() for the stream that opens
  std::stop_token stopping_;                // of run()
  std::optional<std::stop_source> stream_;  // ends the current stream only
  bool ordered_ = false;
  MonotonicTime recent_told_{};  // when a mark last went out with the recent transactions
  bool at_head_ = false;         // the next mark is the first one of a start at the head
  bool reseed_ = false;          // tenants have new starts: open the stream again
  bool told_readers_ = false;    // the last thing published was events
  bool compare_all_ = false;     // the history may be another one: every tenant is asked for by its last event
  bool compared_ = false;        // ... and the source has accepted that
  bool gap_for_all_ = false;     // it is, and nothing can be compared: every tenant gets a GAP at the first mark
  bool snapshot_new_ = false;    // the stream is the first one, and starts with snapshots

  mutable Mutex mutex_;
  SessionStatus status_ GUARDED_BY(mutex_);
  std::vector<ResumeOrder> resumed_ GUARDED_BY(mutex_);  // asked for, and not yet done
};

}  // namespace headgate::relay
