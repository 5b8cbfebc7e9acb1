// The state of tenants, read in pages beside the stream and published between marks.
//
//   begin() ─▶ SNAPSHOT_BEGIN, pages (own thread, a few tenants in turns) ─▶ take_done() ─▶ SNAPSHOT_END (session)
//
// While a snapshot is under way the tenant's events of the stream are left out: those below its position are part of
// it, those above it have to be read again behind it, and `missed` says whether there were any. A snapshot whose
// position cannot be read any more begins anew at a newer one. A source that is away is waited for.
//
// begin(), resume() and what follows them belong to the session's thread; one thread of its own reads and publishes.
#pragma once

#include <atomic>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/backoff.h"
#include "relay/delivery/place.h"
#include "relay/hub/hub.h"
#include "relay/upstream/upstream.h"

namespace headgate::relay {

class Snapshots {
 public:
  struct Parts {
    Upstream& upstream;
    Hub& hub;
    Clock& clock;
  };
  // One that has been published but for its end.
  struct Done {
    std::string tenant;
    EventPtr end;         // null: the tenant does not exist any more
    EventPtr gap{};       // behind the end, when rows of the state could not be told
    bool missed = false;  // events behind its position were left out
    Status refused{};     // not OK: the source offers no snapshots
    uint64_t told = 0;    // of `end` null: the xid of what was published, and is void
  };

  Snapshots(Parts parts, std::string session, BackoffSettings backoff);
  ~Snapshots() { stop(); }
  Snapshots(const Snapshots&) = delete;
  Snapshots& operator=(const Snapshots&) = delete;

  // `flows`: the stream carries the tenant's events now. Nothing happens when its snapshot is under way already.
  void begin(const std::string& tenant, bool flows);
  // Goes on behind the last page that a sink has.
  void resume(const std::string& tenant, const SourcePlace::Tenant& at);
  // The tenant was deleted at `xid`: what was published of it is void, and nothing follows that. Returns the xid of
  // what was published, 0 when nothing was; nullopt, and nothing is changed, when that is of a state behind the
  // deletion.
  std::optional<uint64_t> cancel(const std::string& tenant, uint64_t xid);
  // True for an event of a tenant whose snapshot is under way: it is not to be published.
  bool leaves_out(const Event& event);
  bool running(const std::string& tenant) const;
  // The stream was opened again: what it carries of the tenants is not known.
  void stream_opened();
  // It carries everything of a flowing tenant from this position on.
  void stream_began(uint64_t position);
  // Those that ended; each tenant stays left out until release().
  std::vector<Done> take_done();
  void release(const std::string& tenant);
  // Nothing is published any more.
  void stop();
  // Snapshots that are due or being read.
  size_t unfinished() const { return unfinished_; }

 private:
  struct Job {
    uint64_t id = 0;         // tells it from another one of the tenant
    std::string snap_token;  // of the position; empty before the first page
    std::string incarnation;
    std::string continuation;
    uint64_t xid = 0;  // in front of the position; before a new beginning, of the one that is void
    uint32_t part = 0;
    bool begun = false;      // the begin mark was published
    bool last_page = false;  // was published as well
    bool untold = false;     // a page lacked rows that the source could not read
    bool flows = false;
    bool done = false;
    uint64_t highest_left_out = 0;
  };

  void run(std::stop_token stop);
  // The next tenant to read of, in turns; empty when stopped.
  std::string next_tenant(std::stop_token stop);
  // False: the source is away.
  bool step(const std::string& tenant, std::stop_token stop);
  bool publish(const std::string& tenant, const Job& before, SnapshotPage page, std::stop_token stop);
  EventPtr event_of(const std::string& tenant, const Job& job, sinks::EventKind kind) const;
  void finish(const std::string& tenant, const Job& job, Done done);
  void add(const std::string& tenant, Job job);
  // Holds for as long as the lock is held.
  bool is_current(const std::string& tenant, const Job& job) const REQUIRES_LOCK(publishing_);

  const Parts parts_;
  const std::string session_;
  Backoff backoff_;  // of the thread

  Mutex publishing_;  // in front of mutex_: held while a page is published, so that none comes behind cancel()

  mutable Mutex mutex_;
  Condition changed_;
  uint64_t last_id_ GUARDED_BY(mutex_) = 0;
  std::optional<uint64_t> began_ GUARDED_BY(mutex_);  // by stream_began()
  std::map<std::string, Job> jobs_ GUARDED_BY(mutex_);
  std::deque<std::string> waiting_ GUARDED_BY(mutex_);  // not begun
  std::deque<std::string> active_ GUARDED_BY(mutex_);   // read in turns
  std::vector<Done> done_ GUARDED_BY(mutex_);
  std::atomic<size_t> unfinished_{0};
  std::atomic<bool> any_{false};  // jobs_ is not empty; spares the lock at each event
  std::jthread thread_;           // last: it uses all of the above
};

}  // namespace headgate::relay
