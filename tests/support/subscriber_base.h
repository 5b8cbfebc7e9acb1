// What all subscribers share: the list, its lock, and the thread that reads. For tests/support/subscriber_*.cc only.
#pragma once

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <stop_token>
#include <thread>

#include "tests/support/subscribers.h"

namespace headgate::testing {

// A subclass implements run() and calls start() at the end of its constructor and stop() at the start of its
// destructor.
class SubscriberBase : public Subscriber {
 public:
  explicit SubscriberBase(std::string kind) : kind_(std::move(kind)) {}

  const std::string& kind() const override { return kind_; }
  std::vector<Received> received() const override;
  size_t count() const override;
  std::vector<std::string> faults() const override;
  bool wait_for(size_t count, std::chrono::milliseconds timeout) const override;
  bool wait_for_all(size_t count, std::chrono::milliseconds timeout) const override;
  bool wait_ready(std::chrono::milliseconds timeout) const override;
  void on_event(std::function<void(const Received&)> callback) override;

 protected:
  // Until `stop` is asked for: connect, read, and connect again after a failure. Never blocks longer than 200 ms.
  virtual void run(std::stop_token stop) = 0;
  void start();
  void stop();

  void set_ready();
  // Without an event the fault is kept.
  void add(std::optional<Received> event, const std::string& fault);

 private:
  const std::string kind_;
  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  std::vector<Received> events_;
  size_t changes_ = 0;  // of events_
  std::vector<std::string> faults_;
  std::function<void(const Received&)> callback_;
  bool ready_ = false;
  std::jthread thread_;
};

struct HostPort {
  std::string host;
  int port = 0;
};
// "127.0.0.1:6379", also behind "redis://" or "nats://".
HostPort split_address(const std::string& address);

// Waits, unless `stop` comes first.
void pause(std::stop_token stop, std::chrono::milliseconds time);

}  // namespace headgate::testing
