// What the feed's threads and its streams share: the ring, the streams, and who waits for what. One mutex guards it
// all; nothing blocks while it is held, and wake-ups are given when it has been released.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "base/mutex.h"
#include "engine/feed/ahead.h"
#include "engine/feed/catch_up.h"
#include "engine/feed/feed.h"
#include "engine/feed/identity.h"
#include "engine/feed/opening.h"

namespace headgate::engine {

class StreamImpl;

class FeedCore {
 public:
  explicit FeedCore(FeedSettings settings)
      : settings(settings), ring(settings.ring), ahead(settings.ring.bytes_max / 2) {}

  // Threads of the feed:

  // What the streams were told of the database before, to be compared with what a new connection shows. Nothing before
  // the first connection.
  std::optional<KeptHistory> kept() const;
  // The first connection was made.
  void begin(const HistorySight& sight);
  // A new connection leads to the history that is kept. One of another incarnation still ends the streams.
  void go_on(const HistorySight& sight);
  // A new connection leads to another history: all streams end with `status`, and nothing of the old one is kept.
  void begin_anew(const HistorySight& sight, const Status& status);
  void disconnected();
  // For a new connection of the pool. UNAVAILABLE when it leads to another history than the feed's own; the feed then
  // connects again, too.
  Status check_history(HistoryReader& reader);
  // `transactions`, each in its parts and ascending; everything below `next` is complete.
  void append(const std::vector<std::vector<FeedItemPtr>>& transactions, uint64_t next);
  // Whole transactions in front of the ring's end that can be told already, each tenant's ascending.
  void append_ahead(std::vector<std::vector<FeedItemPtr>> transactions);
  void end_streams(const Status& status);
  void tenants_removed(const std::vector<std::string>& tenants);
  // The ring will miss a part of these tenants' history: their streams cannot go on. Before the pages are appended.
  void collected_ahead(const std::vector<TenantFloor>& tenants);
  // Counts and logs what cannot be told; once for each transaction, however often it is read.
  void note_unreadable(const HistoryTransaction& transaction);
  uint64_t lowest_live_xid() const;
  int catching_up_locked() const REQUIRES_LOCK(mutex);

  const FeedSettings settings;
  std::weak_ptr<CatchUpPool> pool;  // set once, before any stream

  mutable Mutex mutex;  // of the streams, too
  Ring ring GUARDED_BY(mutex);
  AheadList ahead GUARDED_BY(mutex);
  Incarnation incarnation GUARDED_BY(mutex);
  bool is_connected GUARDED_BY(mutex) = false;
  bool was_connected GUARDED_BY(mutex) = false;
  bool must_reconnect GUARDED_BY(mutex) = false;
  uint64_t ring_restarts GUARDED_BY(mutex) = 0;  // how often the ring began anew
  uint64_t ring_losses GUARDED_BY(mutex) = 0;    // calls of collected_ahead()
  // Tenants of which the ring misses history, and up to where. A removal hides that later from who asks the database.
  std::map<std::string, uint64_t> ring_holes GUARDED_BY(mutex);
  uint64_t connections GUARDED_BY(mutex) = 0;  // made by the feed; what was read before one is not relied on behind
  bool closed GUARDED_BY(mutex) = false;
  MonotonicTime outage_since GUARDED_BY(mutex){};
  std::unordered_set<StreamImpl*> streams GUARDED_BY(mutex);
  std::unordered_map<std::string, std::unordered_set<StreamImpl*>> parked_one GUARDED_BY(mutex);  // by tenant
  std::unordered_set<StreamImpl*> parked_many GUARDED_BY(mutex);
  std::vector<std::weak_ptr<StreamImpl>> waiting_to_open GUARDED_BY(mutex);
  FeedStats stats GUARDED_BY(mutex);
  std::unordered_set<std::string> noted GUARDED_BY(mutex);  // by note_unreadable()

  using Wakeups = std::vector<std::weak_ptr<Wakeup>>;

 private:
  void end_streams_locked(const Status& status, Wakeups* wakeups) REQUIRES_LOCK(mutex);
  void take_locked(const HistorySight& sight) REQUIRES_LOCK(mutex);
  void wake_for_locked(const std::vector<FeedItemPtr>& parts, Wakeups* wakeups) REQUIRES_LOCK(mutex);
  // Those that wait at the ring's end stay there.
  void wake_ahead_locked(const FeedItem& first, Wakeups* wakeups) REQUIRES_LOCK(mutex);
};

void wake_all(const FeedCore::Wakeups& wakeups);

// The stream behind Feed::open().
class StreamImpl : public FeedStream, public std::enable_shared_from_this<StreamImpl> {
 public:
  StreamImpl(std::shared_ptr<FeedCore> core, StreamRequest request, std::weak_ptr<Wakeup> wakeup);
  ~StreamImpl() override;
  StatusOr<Pull> pull(ReadLimit limit) override;

  // Called once by Feed::open(): asks the pool to decide the start, now or when the feed is connected.
  void begin();

 private:
  friend class FeedCore;
  enum class Phase { kOpening, kRunning, kEnded };

  // In a thread of the pool:
  Status run_opening(HistoryReader& reader);
  Status run_page(HistoryReader& reader);
  Status check_floors(HistoryReader& reader, const HistoryPage& page, FeedPlace from);
  StatusOr<std::vector<TenantFloor>> read_floors(HistoryReader& reader, const HistoryPage& page, FeedPlace from,
                                                 uint64_t ring_start) const;
  // Parts of `page` that belong to the stream, from `place` on; moves `place`.
  std::vector<FeedItemPtr> encode_page(const HistoryPage& page, FeedPlace* place) const;

  // Base clients do not know life events.
  bool wants(const FeedItem& item) const REQUIRES_LOCK(core_->mutex) {
    if (item.nameless) return false;
    if (item.life == nullptr) return filter_.wants_changes(item.tenant, item.xid);
    return filter_.wants(item.tenant, item.xid) && request_.notices;
  }
  // What is missing below such a floor ends with a removal that the stream delivers.
  bool is_told(const TenantFloor& lost) const { return lost.by_removal && request_.notices; }

  // For FeedCore, which knows its mutex by another name.
  void assert_locked() const ASSERTS_LOCK(core_->mutex) { core_->mutex.assert_held(); }
  // For the stream's job, of which there is at most one: nobody else changes the filter once the stream runs.
  const StreamFilter& filter_of_job() const NO_LOCK_ANALYSIS { return filter_; }

  // With the mutex held:
  void lose_ring_holes_locked() REQUIRES_LOCK(core_->mutex);
  void end_locked(const Status& status) REQUIRES_LOCK(core_->mutex);
  // Of these tenants the ring will miss what the stream has not read. True when the stream is concerned.
  bool lose_locked(const std::vector<TenantFloor>& tenants) REQUIRES_LOCK(core_->mutex);
  // What was read behind `end` is taken back: other transactions may come there. True when the stream has to end
  // because it starts behind it.
  bool rewind_locked(uint64_t end) REQUIRES_LOCK(core_->mutex);
  // A notice, and nothing more of the tenant.
  void drop_locked(const TenantFloor& lost) REQUIRES_LOCK(core_->mutex);
  void submit_opening_locked() REQUIRES_LOCK(core_->mutex);
  void submit_page_locked() REQUIRES_LOCK(core_->mutex);
  // What to do with this stream when the database gives no connection for what it needs.
  CatchUpPool::GiveUp no_connection();
  void read_ring_locked(ReadLimit limit, Pull* pull) REQUIRES_LOCK(core_->mutex);
  // For a stream at the ring's end. What it takes the ring does not send it again.
  void read_ahead_locked(ReadLimit limit, Pull* pull) REQUIRES_LOCK(core_->mutex);
  // Clients of base.v1 know no place for what cannot be told: their stream ends in front of it.
  void stop_at_unreadable_locked(Pull* pull) REQUIRES_LOCK(core_->mutex);
  void take_buffer_locked(ReadLimit limit, Pull* pull) REQUIRES_LOCK(core_->mutex);
  void withhold_locked(uint64_t from, uint64_t to) REQUIRES_LOCK(core_->mutex);
  // How far the stream is complete that was read up to there.
  uint64_t complete_locked(uint64_t read) const REQUIRES_LOCK(core_->mutex);
  void advance_locked(const Pull& pull) REQUIRES_LOCK(core_->mutex);
  void park_locked() REQUIRES_LOCK(core_->mutex);
  void unpark_locked(uint64_t xid) REQUIRES_LOCK(core_->mutex);
  void leave_locked() REQUIRES_LOCK(core_->mutex);

  const std::shared_ptr<FeedCore> core_;
  const StreamRequest request_;
  const std::weak_ptr<Wakeup> wakeup_;

  Phase phase_ GUARDED_BY(core_->mutex) = Phase::kOpening;
  Status end_ GUARDED_BY(core_->mutex);
  // Changed only when no job is under way, or by the job: see filter_of_job().
  StreamFilter filter_ GUARDED_BY(core_->mutex);
  FeedPlace place_ GUARDED_BY(core_->mutex);        // behind what is in buffer_
  uint64_t position_ GUARDED_BY(core_->mutex) = 0;  // the last one told
  // Changes behind `withheld_from_` are missing until the removal in front of `withheld_to_` was sent: so far no
  // position passes the former, because that would say that everything below it was sent.
  uint64_t withheld_from_ GUARDED_BY(core_->mutex) = UINT64_MAX;
  uint64_t withheld_to_ GUARDED_BY(core_->mutex) = 0;
  TransactionIdentity newest_ GUARDED_BY(core_->mutex);  // in front of position_
  // How far the stream is complete when it has sent the last page, and the newest transaction in front of that.
  uint64_t page_end_ GUARDED_BY(core_->mutex) = 0;
  TransactionIdentity page_newest_ GUARDED_BY(core_->mutex);
  std::deque<FeedItemPtr> buffer_ GUARDED_BY(core_->mutex);  // read from the database or ahead, not yet pulled
  bool buffer_ahead_ GUARDED_BY(core_->mutex) = false;
  uint64_t ahead_next_ GUARDED_BY(core_->mutex) = 0;  // number in the list of what was told ahead
  bool reading_ GUARDED_BY(core_->mutex) = false;     // a job is under way
  // Read to the ring's end; the feed moves place_ when something comes.
  bool parked_ GUARDED_BY(core_->mutex) = false;
  std::optional<StreamOpening> opening_ GUARDED_BY(core_->mutex);
  std::vector<StreamNotice> notices_ GUARDED_BY(core_->mutex);
  // To be dropped by the job under way, which reads filter_ without the mutex.
  std::vector<TenantFloor> lost_ GUARDED_BY(core_->mutex);
};

}  // namespace headgate::engine
