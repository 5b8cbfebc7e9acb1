// The engine's single tail of all transactions: one thread and one connection read the history forward into a ring, and
// any number of streams are cursors into it. engine/feed/README.md has the whole picture.
//
// All methods are thread-safe. The feed owns its threads and connections; streams may outlive it and then end.
#pragma once

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "engine/feed/ring.h"
#include "engine/feed/start.h"
#include "engine/storage/history.h"

namespace headgate::engine {

struct FeedSettings {
  RingSettings ring;
  // A message holds at most this many bytes of changes, and kJsonBytesMax of them as JSON; larger transactions travel
  // in parts.
  size_t part_bytes_max = 128 << 10;
  // How many changes are read from the database at once.
  size_t page_changes = 5'000;
  // The pause between two looks at the database: short after something was found, growing to `poll_idle`.
  Duration poll_busy{1};
  Duration poll_idle{25};
  // How long streams stay open while the database is away.
  Duration outage_grace{30'000};
  std::function<bool()> connections_scarce{};  // see CatchUpPool; may be empty
  // A statement of the feed that takes longer has its connection broken.
  Duration hang_max{10'000};
  // Threads, each with a connection, that read history for streams which start behind the ring or fell out of it.
  int catch_up_threads = 4;
  // What such a stream may hold in memory.
  size_t catch_up_bytes = 1 << 20;
  // How often the server's statistics are asked whether tenants changed, to compare them with the record of their
  // lives.
  Duration removal_interval{1'000};
  // How long something must hold the horizon back before transactions of other tenants are told in front of it, and the
  // pause between two looks for such. 0: never.
  Duration ahead_after{20};
  Duration ahead_interval{10};
  // A transaction with more changes is read beside the others instead of in front of them.
  size_t large_changes = 5'000;
  Duration audit_interval{60'000};
  Duration audit_delay{5'000};
};

struct FeedStats {
  int streams = 0;
  int streams_catching_up = 0;
  size_t ring_bytes = 0;
  size_t ring_messages = 0;
  uint64_t horizon = 0;
  // Behind the ring's end when the database was last asked; 0 when caught up.
  uint64_t horizon_lag = 0;
  uint64_t polls = 0;
  double poll_seconds = 0;  // spent in the database by the feed's own thread
  uint64_t transactions = 0;
  uint64_t changes_bytes = 0;
  uint64_t pages_caught_up = 0;
  uint64_t reconnects = 0;
  uint64_t audited = 0;          // transactions rows counted by the auditor
  uint64_t audit_missing = 0;    // of these, how many the feed had not delivered; anything but 0 is a fault
  uint64_t unreadable_rows = 0;  // rows that are no values, each counted once
  uint64_t ahead = 0;            // transactions that were told in front of the horizon
  // What holds the horizon back, when it has for `ahead_after`; and for how long.
  std::vector<RunningTransaction> holding{};
  double held_seconds = 0;
  bool connected = false;
};

// Told when a stream has something for pull(). Called from the feed's threads without a lock held; must be quick.
class Wakeup {
 public:
  virtual ~Wakeup() = default;
  virtual void wake() = 0;
};

struct StreamTenant {
  std::string tenant;
  std::string snap_token;      // empty: StreamRequest.earliest decides
  TransactionIdentity last{};  // of the last event that the client has; xid 0: not known
  // The client has everything up to its position for all others: any later start that both histories share will do.
  bool quiet = false;
  // `last` may have been told ahead: that the client has it says nothing of what it has of others.
  bool ahead = false;
};

struct StreamRequest {
  std::vector<StreamTenant> tenants;
  // True: a fault of one tenant becomes a notice, and events of tenants' lives are told. False: it ends the stream.
  bool notices = false;
  // Also every other tenant, present and future.
  bool all_tenants = false;
  // Transactions in front of the horizon are taken: in order within their tenant, while a lower one of another tenant
  // is still in progress.
  bool ahead = false;
  // Tenants without a token start at their oldest transaction instead of now.
  bool earliest = false;
  // A position at which the unnamed tenants of all_tenants start; empty: `earliest` decides.
  std::string others_token;
  std::string incarnation;            // empty: any
  TransactionIdentity others_last{};  // the newest transaction in front of others_token; xid 0: not known
  // The last ones that the client has, of any tenants; compared only beside others_last or a tenant's.
  std::vector<TransactionIdentity> recent{};
};

// Something about one tenant of a stream.
struct StreamNotice {
  std::string tenant;
  bool removed = false;  // else: its start failed
  std::string reason;
  std::string text;
  uint64_t position = 0;      // from where the tenant can be read again; 0: from the stream's opening
  bool starts_later = false;  // its start is served from `position` on, what was asked for is not there
};

struct StreamOpening {
  std::string incarnation;
  uint64_t position = 0;
  std::string snap_token;        // names the state that the stream continues
  TransactionIdentity newest{};  // of any tenant, in front of the position
};

// What a stream has now.
struct Pull {
  // Once, before anything else.
  std::optional<StreamOpening> opening;
  std::vector<StreamNotice> notices;
  std::vector<FeedItemPtr> items;
  bool ahead = false;  // the items are in front of the horizon, and say nothing of the position
  // Every transaction of the stream below it is in this or an earlier answer. 0 before the opening.
  uint64_t position = 0;
  // When nothing is above: the newest transaction of any tenant in front of the position.
  TransactionIdentity newest;
  // Nothing above and nothing to come at once: wake() will be called when that changes.
  bool idle() const { return !opening && notices.empty() && items.empty(); }
};

// One reader of the feed. Thread-safe, but meant for one caller at a time. Destroying it closes it.
class FeedStream {
 public:
  virtual ~FeedStream() = default;
  // Never blocks. An error ends the stream: OUT_OF_RANGE and INVALID_ARGUMENT carry a reason (start.h), UNAVAILABLE
  // means the database is away for too long or the process shuts down.
  virtual StatusOr<Pull> pull(ReadLimit limit) = 0;
};

class FeedCore;
class CatchUpPool;
class FeedLoop;

class Feed {
 public:
  // Starts at once; the first connection is made in the background.
  Feed(HistoryOpener opener, FeedSettings settings = {});
  ~Feed();
  Feed(const Feed&) = delete;
  Feed& operator=(const Feed&) = delete;

  // Never blocks. The start is decided in the background; the stream's first answers are idle until then.
  std::shared_ptr<FeedStream> open(StreamRequest request, std::weak_ptr<Wakeup> wakeup);
  // A writer of this process has committed: look at once.
  void wake();
  // The lowest xid a stream still has to read from the database or the ring; the collector stays below. UINT64_MAX when
  // there is no stream.
  uint64_t lowest_live_xid() const;
  // Every transaction below it has ended and is told to streams; 0 before the first connection.
  uint64_t position() const;
  // True once the feed has read the horizon and as long as the database answers.
  bool ready() const;
  FeedStats stats() const;

 private:
  std::shared_ptr<FeedCore> core_;
  std::shared_ptr<CatchUpPool> pool_;
  std::unique_ptr<FeedLoop> loop_;
};

}  // namespace headgate::engine
