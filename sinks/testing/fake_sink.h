// A sink for tests of the relay: keeps what it gets, fails when told, blocks when told.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/mutex.h"
#include "sinks/sink.h"

namespace headgate::sinks {

// Thread-safe, unlike real sinks, so that a test may steer it while a worker uses it.
class FakeSink : public Sink {
 public:
  explicit FakeSink(std::string name = "fake", Guarantee guarantee = Guarantee::kExactlyOnce);

  const SinkInfo& info() const override { return info_; }
  Status open(std::stop_token stop) override;
  StatusOr<std::map<std::string, Cursor>> recover(const std::map<std::string, Cursor>& stored,
                                                  std::stop_token stop) override;
  WriteResult write(const Batch& batch, std::stop_token stop) override;
  Status heartbeat(const Heartbeat& heartbeat, std::stop_token stop) override;
  void close() override;

  // While corked, write() blocks until uncork() or its stop token.
  void cork();
  void uncork();
  // The next `count` calls of open() or write() fail with `status`; a write first takes `written` deliveries.
  void fail_next_opens(int count, Status status);
  void fail_next_writes(int count, Status status, size_t written = 0);
  // What recover() answers; nothing set: the last delivery of each tenant that it got.
  void answer_recover(std::map<std::string, Cursor> cursors);
  // Deliveries with a lower epoch are refused from now on with FAILED_PRECONDITION.
  void fence(uint64_t epoch);

  std::vector<Delivery> received() const;
  // As events; see heartbeat_deliveries().
  std::vector<Delivery> heartbeats() const;
  // Event ids "<tenant>/<xid>/<part>" of one tenant, in order.
  std::vector<std::string> ids_of(const std::string& tenant) const;
  size_t count() const;
  int opens() const;
  int writes() const;
  bool is_open() const;

 private:
  struct Failure {
    int count = 0;
    Status status;
    size_t written = 0;
  };

  const SinkInfo info_;
  mutable Mutex mutex_;
  Condition changed_;
  bool corked_ GUARDED_BY(mutex_) = false;
  bool open_ GUARDED_BY(mutex_) = false;
  int opens_ GUARDED_BY(mutex_) = 0;
  int writes_ GUARDED_BY(mutex_) = 0;
  uint64_t epoch_ GUARDED_BY(mutex_) = 0;
  Failure open_failure_ GUARDED_BY(mutex_);
  Failure write_failure_ GUARDED_BY(mutex_);
  std::optional<std::map<std::string, Cursor>> recovered_ GUARDED_BY(mutex_);
  std::vector<Delivery> received_ GUARDED_BY(mutex_);
  std::vector<Delivery> heartbeats_ GUARDED_BY(mutex_);
};

}  // namespace headgate::sinks
