// The ring of recent events, in order of arrival. One publisher, few readers; a reader is only a place in the ring.
//
// The ring is bounded by bytes. A full ring drops its oldest item once any reader has read it: a slow reader loses its
// place and is told so, it never slows the others. When all readers stand still the publisher waits, which is the
// back-pressure towards the source. Readers that have lost their place do not count.
//
// Thread-safe. Items are shared, never copied.
#pragma once

#include <atomic>
#include <deque>
#include <limits>
#include <memory>
#include <set>
#include <stop_token>
#include <string>
#include <variant>
#include <vector>

#include "base/clock.h"
#include "base/mutex.h"
#include "relay/upstream/upstream.h"

namespace headgate::relay {

// From here on the tenant waits for a snapshot: marks do not cover it, and a restart begins the snapshot.
struct SnapshotDue {
  std::string tenant;
};

using HubItem = std::variant<EventPtr, std::shared_ptr<const Progress>, std::shared_ptr<const TenantFailure>,
                             std::shared_ptr<const SnapshotDue>>;
size_t bytes_of(const HubItem& item);

struct ReadLimits {
  size_t items_max = 512;
  size_t bytes_max = 1 << 20;  // a single larger item still comes, alone
  Duration linger{0};          // how long to wait for more after the first item
};

struct ReadResult {
  enum class Outcome {
    kItems,
    kNothing,  // the time-out is over, or stop was requested
    kLagged,   // the place was dropped; the reader stays useless, make another
    kClosed,   // closed by the publisher, and everything has been read
  };
  Outcome outcome = Outcome::kNothing;
  std::vector<HubItem> items;
};

class Hub;

// Belongs to one thread. Leaves the hub when destroyed; REQUIRES: the hub lives longer.
class HubReader {
 public:
  ~HubReader();
  HubReader(const HubReader&) = delete;
  HubReader& operator=(const HubReader&) = delete;

  ReadResult read(const ReadLimits& limits, Duration timeout, std::stop_token stop);
  // Published, and not yet read by this reader.
  size_t bytes_behind() const;
  size_t items_behind() const;

 private:
  friend class Hub;
  HubReader(Hub& hub, uint64_t offset) : hub_(hub), offset_(offset) {}

  Hub& hub_;
  uint64_t offset_;  // guarded by the hub's mutex
};

class Hub {
 public:
  static constexpr uint64_t kNoJoin = std::numeric_limits<uint64_t>::max();

  explicit Hub(size_t bytes_max) : bytes_max_(bytes_max) {}
  Hub(const Hub&) = delete;
  Hub& operator=(const Hub&) = delete;

  // The publisher says what follows: of which history, whether ordered by xid within a tenant, and the xid up to which
  // (inclusive) the ring misses events that came before its first one. Of one history only the first call counts.
  void begin(const std::string& incarnation, bool ordered, uint64_t floor);
  // Corrects a floor that was not known when the stream began.
  void set_floor(uint64_t floor);
  // The ring misses events up to this xid of a tenant whose snapshot it holds instead.
  void raise_floor(uint64_t floor);
  // False while events of some tenant are left out, so that nobody can join.
  void set_joinable(bool joinable);
  // How large an event of the source can be in any sink, as far as that is known; 0 before its first stream stands.
  void set_event_bytes_max(size_t bytes) { event_bytes_max_ = bytes; }
  size_t event_bytes_max() const { return event_bytes_max_; }
  // What the ring holds so far is of a history that is not valid any more; nobody joins in front of what follows. The
  // next begin() counts as one of a new history.
  void history_replaced();
  // Blocks while the ring is full of items that nobody has read. False when stopped or closed. REQUIRES: `stop` is of
  // a stop source; with an empty token nothing could end the wait.
  bool publish(std::vector<HubItem> items, std::stop_token stop) { return publish(std::move(items), stop, true); }
  // The same for marks: readers that wait are not woken, they find it behind the next event or when their time is over.
  bool publish_quietly(std::vector<HubItem> items, std::stop_token stop) {
    return publish(std::move(items), stop, false);
  }
  // Nothing more comes; readers still get what is inside.
  void close();

  // At the oldest item that is still here.
  std::unique_ptr<HubReader> attach();
  // A reader for somebody who has everything of this history below `position` already, at a place from which nothing
  // is missing; nullptr while there is no such place. Items that the caller has come again.
  std::unique_ptr<HubReader> try_join(const std::string& incarnation, uint64_t position);

  bool ordered() const;
  size_t bytes() const;
  size_t items() const;
  // The publisher is waiting for a reader now.
  bool blocked() const;

 private:
  friend class HubReader;
  struct Slot {
    HubItem item;
    size_t bytes;
    uint64_t bytes_before;  // of all items ever published before this one
  };

  bool publish(std::vector<HubItem> items, std::stop_token stop, bool wake);
  bool make_room(size_t bytes, std::stop_token stop) REQUIRES_LOCK(mutex_);
  bool oldest_is_free() const REQUIRES_LOCK(mutex_);
  void drop_oldest() REQUIRES_LOCK(mutex_);
  std::unique_ptr<HubReader> attach_locked(uint64_t offset) REQUIRES_LOCK(mutex_);
  bool enough(const HubReader& reader, const ReadLimits& limits) const REQUIRES_LOCK(mutex_);
  void take(HubReader& reader, const ReadLimits& limits, std::vector<HubItem>& out) REQUIRES_LOCK(mutex_);
  uint64_t end() const REQUIRES_LOCK(mutex_) { return base_ + ring_.size(); }

  const size_t bytes_max_;
  std::atomic<size_t> event_bytes_max_ = 0;
  mutable Mutex mutex_;
  Condition readable_;
  Condition writable_;
  std::deque<Slot> ring_ GUARDED_BY(mutex_);
  uint64_t base_ GUARDED_BY(mutex_) = 0;     // offset of the oldest item
  uint64_t history_ GUARDED_BY(mutex_) = 0;  // offset of the first item of the present history
  size_t bytes_ GUARDED_BY(mutex_) = 0;
  uint64_t bytes_published_ GUARDED_BY(mutex_) = 0;
  std::set<HubReader*> readers_ GUARDED_BY(mutex_);
  bool began_ GUARDED_BY(mutex_) = false;
  bool ordered_ GUARDED_BY(mutex_) = false;
  bool blocked_ GUARDED_BY(mutex_) = false;
  bool closed_ GUARDED_BY(mutex_) = false;
  bool joinable_ GUARDED_BY(mutex_) = true;
  std::string incarnation_ GUARDED_BY(mutex_);
  uint64_t floor_ GUARDED_BY(mutex_) = 0;  // every event of this history with a higher xid is in the ring or to come
};

}  // namespace headgate::relay
