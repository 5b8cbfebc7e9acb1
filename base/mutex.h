// A std::mutex that clang's -Wthread-safety understands. absl::Mutex gives false reports under TSan.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <mutex>
#include <stop_token>
#include <thread>
#include <utility>

#if defined(__clang__)
#define HG_ATTRIBUTE(x) __attribute__((x))
#else
#define HG_ATTRIBUTE(x)
#endif

// abseil has a macro of this name in some of its headers, with the same meaning.
#undef GUARDED_BY
#define GUARDED_BY(x) HG_ATTRIBUTE(guarded_by(x))
#define POINTEE_GUARDED_BY(x) HG_ATTRIBUTE(pt_guarded_by(x))
#define REQUIRES_LOCK(...) HG_ATTRIBUTE(requires_capability(__VA_ARGS__))
#define EXCLUDES_LOCK(...) HG_ATTRIBUTE(locks_excluded(__VA_ARGS__))
#define ASSERTS_LOCK(...) HG_ATTRIBUTE(assert_capability(__VA_ARGS__))
// For what the analysis cannot follow. The comment in front of each use says why it is safe.
#define NO_LOCK_ANALYSIS HG_ATTRIBUTE(no_thread_safety_analysis)

namespace headgate {

class HG_ATTRIBUTE(capability("mutex")) Mutex {
 public:
  void lock() HG_ATTRIBUTE(acquire_capability()) {
    mutex_.lock();
    owner_.store(std::this_thread::get_id(), std::memory_order_relaxed);
  }
  void unlock() HG_ATTRIBUTE(release_capability()) {
    owner_.store({}, std::memory_order_relaxed);
    mutex_.unlock();
  }
  bool try_lock() HG_ATTRIBUTE(try_acquire_capability(true)) {
    if (!mutex_.try_lock()) return false;
    owner_.store(std::this_thread::get_id(), std::memory_order_relaxed);
    return true;
  }
  // Where the analysis cannot see that a mutex is held, because it goes by another name: proves it at run time.
  void assert_held() const ASSERTS_LOCK(this) {
    if (owner_.load(std::memory_order_relaxed) != std::this_thread::get_id()) std::abort();
  }

 private:
  std::mutex mutex_;
  std::atomic<std::thread::id> owner_;
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

// Waits on a headgate::Mutex directly: `condition.wait(mutex_, stop, predicate)` while mutex_ is held. Every wait has
// an end: by a stop token, or by a time.
class Condition : private std::condition_variable_any {
 public:
  using std::condition_variable_any::notify_all;
  using std::condition_variable_any::notify_one;
  using std::condition_variable_any::wait_for;
  using std::condition_variable_any::wait_until;

  // False when stop was requested and the predicate does not hold.
  template <typename Lock, typename Predicate>
  bool wait(Lock& lock, std::stop_token stop, Predicate predicate) {
    return std::condition_variable_any::wait(lock, std::move(stop), std::move(predicate));
  }
};

}  // namespace headgate
