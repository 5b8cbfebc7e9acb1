// A std::mutex that clang's -Wthread-safety understands. absl::Mutex gives false reports under TSan.
#pragma once

#include <condition_variable>
#include <mutex>

#if defined(__clang__)
#define HG_ATTRIBUTE(x) __attribute__((x))
#else
#define HG_ATTRIBUTE(x)
#endif

// abseil has a macro of this name in some of its headers, with the same meaning.
#undef GUARDED_BY
#define GUARDED_BY(x) HG_ATTRIBUTE(guarded_by(x))
#define REQUIRES_LOCK(...) HG_ATTRIBUTE(requires_capability(__VA_ARGS__))
#define EXCLUDES_LOCK(...) HG_ATTRIBUTE(locks_excluded(__VA_ARGS__))

namespace headgate {

class HG_ATTRIBUTE(capability("mutex")) Mutex {
 public:
  void lock() HG_ATTRIBUTE(acquire_capability()) { mutex_.lock(); }
  void unlock() HG_ATTRIBUTE(release_capability()) { mutex_.unlock(); }
  bool try_lock() HG_ATTRIBUTE(try_acquire_capability(true)) { return mutex_.try_lock(); }

 private:
  std::mutex mutex_;
};

class HG_ATTRIBUTE(scoped_lockable) MutexLock {
 public:
  explicit MutexLock(Mutex& mutex) HG_ATTRIBUTE(acquire_capability(mutex)) : mutex_(mutex) { mutex_.lock(); }
  ~MutexLock() HG_ATTRIBUTE(release_capability()) { mutex_.unlock(); }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

 private:
  Mutex& mutex_;
};

// Waits on a headgate::Mutex directly: `condition.wait(mutex_, stop, predicate)` while mutex_ is held.
using Condition = std::condition_variable_any;

}  // namespace headgate
