// Which state a request is answered at.
//
// A state is asked for by one statement for all who wait: a request joins only one that is sent after it came. What the
// statement said serves others, too, as long as it is fresh enough for them. Thread-safe; blocks on the database.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "base/mutex.h"
#include "engine/storage/head_reader.h"

namespace headgate::engine {

// What a request may be answered with.
enum class Freshness : uint8_t {
  kBounded,  // a state that was asked for at most `max_staleness` ago, and after the last write of this process
  kStrict,   // one that was asked for after the request had come
};

struct Head {
  SnapToken at;
  std::string version;  // of the tenant's schema; empty: it has none
  bool standby = false;
  MonotonicTime asked{};  // has everything that was committed by then
};

class HeadKeeper {
 public:
  HeadKeeper(HeadReader& reader, Duration max_staleness);

  // `wanted` is asked while others are waited for.
  StatusOr<Head> get(const std::string& tenant, Freshness freshness, const std::function<Status()>& wanted);
  // Something was committed: who comes from now on sees it.
  void wrote();

 private:
  struct Batch {
    std::vector<std::string> tenants;
    bool done = false;
    Status status;
    Heads heads;
    MonotonicTime asked{};
  };
  struct Version {
    std::string text;
    MonotonicTime asked{};
  };

  bool kept_locked(const std::string& tenant, Head& head) const REQUIRES_LOCK(mutex_);
  void keep_locked(const Batch& batch) REQUIRES_LOCK(mutex_);
  // Sends what has gathered, without the lock while it waits.
  void send(const std::shared_ptr<Batch>& batch);

  HeadReader& reader_;
  const Duration max_staleness_;
  mutable Mutex mutex_;
  Condition changed_;
  std::shared_ptr<Batch> gathering_ GUARDED_BY(mutex_);
  bool sending_ GUARDED_BY(mutex_) = false;
  Head kept_ GUARDED_BY(mutex_);
  MonotonicTime wrote_ GUARDED_BY(mutex_){};
  std::unordered_map<std::string, Version> versions_ GUARDED_BY(mutex_);
};

}  // namespace headgate::engine
