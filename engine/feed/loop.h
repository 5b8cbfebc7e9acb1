// The feed's two threads: one follows the database, one watches over it.
#pragma once

#include <memory>
#include <thread>

#include "base/backoff.h"
#include "engine/feed/core.h"

namespace headgate::engine {

class FeedLoop {
 public:
  FeedLoop(std::shared_ptr<FeedCore> core, std::shared_ptr<CatchUpPool> pool, HistoryOpener opener);
  // Stops both threads, also when the database hangs.
  ~FeedLoop();
  void wake();

 private:
  // Follows the database.
  void run(std::stop_token stop);
  Status connect();
  StatusOr<bool> poll();  // true when there was something new
  StatusOr<bool> follow();
  bool tells_ahead() const { return core_->settings.ahead_after > Duration::zero(); }
  PageLimit page_limit() const {
    return {core_->settings.page_changes, tells_ahead() ? core_->settings.large_changes : PageLimit::kNone};
  }
  Status append(uint64_t from, const HistoryPage& page);
  Status read_to(uint64_t horizon);
  // Of a transaction that is too large to wait for: a helper reads it.
  void load(const HistoryTransaction& large);
  Status take_loaded();
  // Tells what can be told while something holds the ring's end back. `behind`: something is in progress in front of
  // what has been committed.
  Status look_ahead(bool behind);
  void tell_holding(const Running& running, Duration held);
  Status tell_collected(uint64_t from);
  void pause(bool busy, std::stop_token stop);
  void lost(const Status& status, Backoff& backoff, std::stop_token stop);
  void replace(std::unique_ptr<HistoryReader> reader);

  // Watches over it. Never waits for the database itself: the pool does.
  void watch(std::stop_token stop);
  void break_hung_call();
  void end_after_outage();
  void look_for_removed();
  void audit();

  const std::shared_ptr<FeedCore> core_;
  const std::shared_ptr<CatchUpPool> pool_;
  const HistoryOpener opener_;

  // A transaction that is being read.
  struct Loading {
    uint64_t xid = 0;
    Mutex mutex;
    bool done GUARDED_BY(mutex) = false;
    Status status GUARDED_BY(mutex);
    std::vector<std::vector<FeedItemPtr>> transactions GUARDED_BY(mutex);
    uint64_t highest_floor GUARDED_BY(mutex) = 0;
  };
  static Status load_in(HistoryReader& reader, Loading& loading, FeedCore& core);
  static std::vector<std::vector<FeedItemPtr>> encode(const HistoryPage& page, FeedCore& core);

  // Of the following thread alone:
  HistoryReader* own_reader_ = nullptr;  // what reader_ holds
  AheadLook ahead_;
  std::shared_ptr<Loading> loading_;  // the transaction at the ring's end, if that is being read
  uint64_t held_end_ = 0;             // the ring's end, which did not move since
  MonotonicTime held_since_{};
  MonotonicTime ahead_at_{};
  bool held_ = false;
  uint64_t told_holding_ = 0;  // the last transaction in progress that was logged
  Duration interval_{1};
  MonotonicTime polled_at_{};

  Mutex mutex_;
  Condition changed_;
  bool woken_ GUARDED_BY(mutex_) = false;
  std::unique_ptr<HistoryReader> reader_ GUARDED_BY(mutex_);  // for the watching thread, which may interrupt it
  MonotonicTime call_since_ GUARDED_BY(mutex_){};             // when the present round began; zero between rounds

  // Of the watching thread and its jobs in the pool.
  struct Removals {
    Mutex mutex;
    bool running GUARDED_BY(mutex) = false;
    std::optional<uint64_t> changes GUARDED_BY(mutex);
    std::vector<std::string> known GUARDED_BY(mutex);  // only where life events cannot be recorded
    bool more GUARDED_BY(mutex) = false;               // the last look left something
    Duration took GUARDED_BY(mutex){};
  };
  struct Mark {
    uint64_t xid = 0;
    uint64_t transactions = 0;  // appended to the ring below xid, ever
    uint64_t ring_restarts = 0;
    MonotonicTime at{};
  };
  Mark mark();
  static Status look_for_removed_in(HistoryReader& reader, Removals& removals, FeedCore& core);
  static Status compare_tenants(HistoryReader& reader, Removals& removals, FeedCore& core);
  static StatusOr<std::vector<std::string>> removed_without_record(HistoryReader& reader, Removals& removals);

  const std::shared_ptr<Removals> removals_ = std::make_shared<Removals>();
  // Of the watching thread alone:
  MonotonicTime removals_at_{};
  std::optional<Mark> audited_;   // counted up to here
  std::optional<Mark> to_audit_;  // counted next, when everybody has committed for sure

  std::jthread follower_;
  std::jthread watcher_;
};

}  // namespace headgate::engine
