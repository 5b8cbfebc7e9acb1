// Concurrent writers: some through the engine's API, some as a second program of Permify's shape that holds several
// transactions open and commits them out of order.
//
// Threads start in the constructor and end when enough transactions are committed, or with stop().
#pragma once

#include <atomic>
#include <chrono>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace headgate::testing {

struct LoadOptions {
  std::string engine;                // address
  std::string database;              // for the writers in SQL
  std::vector<std::string> tenants;  // with kSchema
  int api_writers = 6;
  int sql_writers = 2;
  size_t transactions = 10'000;  // committed by all together; a few more may come
  double rate = 0;               // transactions a second of all together; 0: as fast as it goes
  std::string prefix = "d";      // of entity ids; two loads on one tenant need different ones
  bool through_outages = false;  // PostgreSQL may be away: calls may fail, writers in SQL connect again
};

class Load {
 public:
  explicit Load(const LoadOptions& options);
  // Stops.
  ~Load();

  size_t committed() const { return committed_; }
  // Serialisation conflicts that a writer gave up on, and calls that failed because the engine was away.
  size_t conflicts() const { return conflicts_; }
  // Failures that should not happen.
  std::vector<std::string> faults() const;
  // Blocks until all transactions are committed; false after `timeout`.
  bool wait_for(size_t transactions, std::chrono::milliseconds timeout) const;
  bool wait(std::chrono::milliseconds timeout) const { return wait_for(options_.transactions, timeout); }
  void stop();

 private:
  void write_by_api(int writer);
  void write_by_sql(int writer, int& step);
  bool more();
  void fault(const std::string& text);
  void settle(bool committed);
  void pace();

  const LoadOptions options_;
  const std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
  std::atomic<size_t> started_ = 0;
  std::atomic<size_t> committed_ = 0;
  std::atomic<size_t> conflicts_ = 0;
  std::atomic<bool> stopping_ = false;
  mutable std::mutex mutex_;
  std::vector<std::string> faults_;
  std::vector<std::jthread> threads_;
};

}  // namespace headgate::testing
