// Brings events from the hub to one sink and keeps the sink's place. One thread, named after the sink.
//
//   open -> recover -> read (hub, or a private stream while behind) -> number -> write -> acknowledge -> commit
//
// Guarantees: a cursor never leads the sink's acknowledgement; order per tenant; a sink that is away is retried for
// ever with full-jitter back-off and holds nobody else up; nothing is dropped without a state, a log line and a
// counter.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "base/backoff.h"
#include "relay/delivery/catch_up.h"
#include "relay/delivery/committer.h"
#include "relay/delivery/dead_letter.h"
#include "relay/delivery/place.h"
#include "relay/delivery/status.h"
#include "sinks/sink.h"

namespace headgate::relay {

// What happens to an event that the sink can never accept. Subscribers always get a GAP event in its place.
enum class PoisonPolicy {
  kGap,             // and the tenant goes on behind it
  kStop,            // and the tenant stops in this sink; its other tenants go on
  kDeadLetterFile,  // the event is kept in a file, and the tenant goes on behind it
};

struct WorkerSettings {
  // What a sink waits for is shared by a batch, so a backlog is read in large ones; it only takes what is there.
  ReadLimits batch{4096, 4 << 20};
  CommitSettings commit;
  BackoffSettings retry{Duration(100), Duration(10'000)};
  PoisonPolicy on_poison = PoisonPolicy::kGap;
  std::string dead_letter_file;
  size_t catch_up_bytes = 8 << 20;  // of the private ring while behind
  // The largest event that the source may send; a sink that takes less is warned of. 0: as the source tells it.
  size_t source_event_bytes = 0;
  sinks::HeartbeatSettings heartbeat;
  TenantSelection tenants;  // others that share the sink are nobody's business here
};

class SinkWorker {
 public:
  struct Parts {
    TokenStore& store;
    Hub& hub;
    Clock& clock;
    Metrics& metrics;
    CatchUp::MakeSession make_session;
    Fence fence;
  };

  SinkWorker(Parts parts, WorkerSettings settings, std::unique_ptr<sinks::Sink> sink);
  ~SinkWorker();
  SinkWorker(const SinkWorker&) = delete;
  SinkWorker& operator=(const SinkWorker&) = delete;

  // `reader`: a place in the hub that misses nothing of `place`; null: begin on a private stream.
  void start(SinkPlace place, std::unique_ptr<HubReader> reader);
  // Finish what the (closed) hub still holds, then leave. Does not wait.
  void drain() { draining_ = true; }
  // Leave now; acknowledged events are still committed. Does not wait.
  void request_stop() { thread_.request_stop(); }
  bool finished() const { return finished_; }
  // Waits for the thread.
  void join();

  // The stopped tenant is read again from its own cursor. NOT_FOUND when it is not stopped in this sink. Does not wait.
  Status resume(const ResumeOrder& order);

  SinkStatus status() const;
  std::vector<TenantStatus> tenants(const TenantQuery& query) const;

 private:
  struct Stopped {
    std::string reason;
    std::string message;
    int64_t since_us = 0;
  };
  enum class Flush { kDone, kLeave, kRewound };

  void run(std::stop_token stop);
  bool open(std::stop_token stop);
  // Of a sink that keeps no place: from here on, an end that is not told puts its last events in doubt.
  bool begin_to_send(std::stop_token stop);
  Status open_once(std::stop_token stop);
  // What an open sink tells of itself.
  void note_limit();
  size_t source_event_bytes() const;
  Status recover(std::stop_token stop);
  void loop(std::stop_token stop);
  ReadResult read(std::stop_token stop);
  bool process(std::vector<HubItem> items, std::stop_token stop);
  void pass(const Progress& mark);
  // Numbers the events from items[at] on, up to the first item that is none; returns its place.
  size_t take_events(std::vector<HubItem>& items, size_t at, bool ordered);
  void take(EventPtr event, bool ordered) REQUIRES_LOCK(mutex_);
  bool is_repeat(const sinks::Event& event, bool ordered) REQUIRES_LOCK(mutex_);
  // A tenant that the sink begins to tell of in the middle of its history.
  void gap_at_start(const sinks::Event& first) REQUIRES_LOCK(mutex_);
  void gap_in_doubt(const std::string& tenant) REQUIRES_LOCK(mutex_);
  // What recovering found to be lost is told before anything else. False: stopped, fenced or to be read anew.
  bool tell_losses(std::stop_token stop);
  void resume_tenants();
  void beat_when_due(std::stop_token stop);
  Flush flush(std::stop_token stop);
  Flush on_write_failed(const Status& status, size_t done, std::stop_token stop);
  void acknowledge(size_t begin, size_t end);
  bool poison(size_t index, const Status& status, std::stop_token stop);
  // Gives up what is pending of the tenant from there on.
  void drop_pending(size_t from, const std::string& tenant);
  // Tenants that stop at an event do so once the GAP in front of it is written.
  void stop_behind_gaps(size_t begin, size_t end);
  bool keep_dead_letter(const sinks::Delivery& delivery, const Status& status, std::stop_token stop);
  void stop_tenant(const std::string& tenant, const std::string& reason, const std::string& message,
                   const std::string& start_token);
  void on_tenant_failed(const TenantFailure& failure);
  void lose_place(const char* why);
  bool is_ahead() const;
  void join_hub();
  void start_commit();
  // Takes the outcome of a commit over. False when it tells that we are fenced.
  bool settle_commit(const std::optional<Committer::Outcome>& outcome);
  bool commit_when_due(bool idle, std::stop_token stop);
  void commit_at_end();
  void fenced(const Status& status);
  void note_error(const Status& error);
  // The sink's server refused: what kind of refusal it is goes into the status, the metrics and, not too often, the
  // log.
  void note_refusal(const Status& error, bool writing);
  void settle();
  void change_state(SinkState state, const Status& error = ok_status());

  const Parts parts_;
  const WorkerSettings settings_;
  std::unique_ptr<sinks::Sink> sink_;
  const std::string name_;
  SinkMetrics metrics_;
  Committer committer_;
  Backoff retry_;
  DeadLetterFile dead_letters_;
  std::pair<size_t, size_t> noted_limits_{};  // of the sink and of the source
  const int64_t started_us_;

  // Of the worker's thread.
  std::unique_ptr<HubReader> reader_;
  std::unique_ptr<CatchUp> catch_up_;
  std::vector<sinks::Delivery> pending_;
  struct Stopping {
    std::string message, start_token;
  };
  std::map<std::string, Stopping> stopping_;  // tenants whose GAP is pending
  size_t overlap_ = 0;  // items at the front of the ring that may repeat what the private stream brought
  Progress joined_at_;
  bool fenced_ = false;
  bool rewind_ = false;
  std::map<std::string, GapPolicy> decided_;      // for the next private stream
  std::map<std::string, int64_t> resumed_at_us_;  // when it was last asked for
  bool last_write_unknown_ = false;               // the end came while the sink had not answered
  MonotonicTime next_beat_{};
  MonotonicTime refusal_told_{};

  std::atomic<bool> draining_{false};
  std::atomic<bool> finished_{false};

  mutable Mutex mutex_;
  SinkPlace place_ GUARDED_BY(mutex_);
  std::map<std::string, Stopped> stopped_ GUARDED_BY(mutex_);
  std::vector<ResumeOrder> resumed_ GUARDED_BY(mutex_);  // asked for, and not yet done
  SinkStatus status_ GUARDED_BY(mutex_);
  int64_t oldest_in_hand_us_ GUARDED_BY(mutex_) = 0;
  int64_t complete_at_us_ GUARDED_BY(mutex_) = system_clock().unix_micros();

  std::jthread thread_;  // last: it uses all of the above
};

}  // namespace headgate::relay
