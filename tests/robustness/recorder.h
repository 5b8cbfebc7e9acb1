// A writer that remembers what it wrote, for tests in which the collector takes it out of the database; a reader that
// takes its time; and what a collector does, by hand.
#pragma once

#include <atomic>
#include <mutex>
#include <thread>

#include "tests/robustness/fleet.h"
#include "tests/support/engine_session.h"

namespace headgate::testing {

// Not thread-safe.
class Recorder {
 public:
  Recorder(const std::string& uri, std::string tenant) : sql_(uri), tenant_(std::move(tenant)) {}

  // One transaction: so many new tuples, and one of the transaction before taken away.
  void write(int changes);
  const std::vector<TruthRow>& rows() const { return rows_; }
  uint64_t last() const { return rows_.back().xid; }
  // Transactions of the tenant that the database still has.
  int left();
  // F1 and F7 of a stream from the beginning, or from behind `after`.
  std::string check(const std::vector<base::v1::DataChanges>& messages, uint64_t after = 0) const;

 private:
  EngineSession sql_;
  const std::string tenant_;
  std::vector<TruthRow> rows_;
};

// True when the last message of the stream is this transaction, or a later one.
bool carried(const WatchReader& reader, uint64_t xid);

// A client that waits before it reads each message, until it is told to hurry. One thread.
class SlowReader {
 public:
  SlowReader(EngineClient& client, const std::string& tenant, const std::string& token,
             std::chrono::milliseconds pause);
  // Cancels.
  ~SlowReader();
  void hurry() { hurry_ = true; }
  bool open() const { return open_; }
  bool ended() const { return ended_; }
  std::vector<base::v1::DataChanges> messages() const;
  // Of an ended stream.
  grpc::Status status() const;

 private:
  void run(EngineClient& client, const base::v1::WatchRequest& request, std::chrono::milliseconds pause);

  grpc::ClientContext context_;
  std::atomic<bool> hurry_ = false, open_ = false, ended_ = false;
  mutable std::mutex mutex_;
  std::vector<base::v1::DataChanges> messages_;
  grpc::Status status_;
  std::jthread thread_;
};

// What a collector leaves of a tenant whose floor is `floor`: the floor is recorded first.
void collect_by_hand(EngineSession& sql, const std::string& tenant, uint64_t floor);

}  // namespace headgate::testing
