// Cursors in this process only: for trials and tests. They are gone with the process.
#pragma once

#include <map>
#include <string>

#include "base/mutex.h"
#include "relay/tokens/ownership.h"
#include "relay/tokens/token_store.h"

namespace headgate::relay {

class MemoryStore : public TokenStore {
 public:
  StatusOr<Fence> acquire(const std::string& owner) override;
  StatusOr<std::map<std::string, Cursor>> load(const std::string& sink) override;
  Status commit(const std::string& sink, std::span<const CursorUpdate> updates, const Fence& fence) override;
  Status ping() override;

  // From now on every call answers with this, until it is OK again. For tests.
  void fail_with(Status status);
  // Everything is gone, under whoever owns it. For tests.
  void lose();
  // How many commits were accepted.
  int commits() const;

 private:
  Status check(const Fence& fence) const REQUIRES_LOCK(mutex_);

  mutable Mutex mutex_;
  Losses losses_ GUARDED_BY(mutex_);
  Status failure_ GUARDED_BY(mutex_);
  uint64_t epoch_ GUARDED_BY(mutex_) = 0;
  int commits_ GUARDED_BY(mutex_) = 0;
  std::map<std::string, std::map<std::string, Cursor>> sinks_ GUARDED_BY(mutex_);
};

}  // namespace headgate::relay
