// A sink that can be exchanged while its worker runs: for credentials and certificates that were renewed.
#pragma once

#include <memory>

#include "base/mutex.h"
#include "sinks/sink.h"

namespace headgate::sinks {

// The sink that is to take the other's place: the same name, kind and place to publish to. Thread-safe.
class Replacement {
 public:
  void set(std::unique_ptr<Sink> sink) {
    MutexLock lock(mutex_);
    sink_ = std::move(sink);
  }
  std::unique_ptr<Sink> take() {
    MutexLock lock(mutex_);
    return std::move(sink_);
  }
  bool waits() const {
    MutexLock lock(mutex_);
    return sink_ != nullptr;
  }

 private:
  mutable Mutex mutex_;
  std::unique_ptr<Sink> sink_ GUARDED_BY(mutex_);
};

// `sink`, until something waits in `next`: then the next write or heartbeat answers UNAVAILABLE, as a connection does
// that broke, and the open() that follows closes the old sink and opens the other.
std::unique_ptr<Sink> make_replaceable_sink(std::unique_ptr<Sink> sink, std::shared_ptr<Replacement> next);

}  // namespace headgate::sinks
