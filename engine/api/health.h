// grpc.health.v1 that tells the truth: a service is SERVING only while the database answers.
//
// One thread asks the database, another judges by the age of the last good answer, so a database that hangs without
// closing its connections counts as away as well. The thread that asks may then be stuck in the driver; the owner must
// not destroy the checker while it wants to end quickly (see App).
#pragma once

#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>

#include <atomic>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/mutex.h"
#include "base/status.h"

namespace headgate::engine {

struct HealthSettings {
  Duration interval{500};      // between two questions
  Duration answer_max{1'500};  // an older good answer does not count
};

class HealthChecker {
 public:
  // `ask` blocks until the database has answered. `clock` is borrowed.
  HealthChecker(std::function<Status()> ask, Clock& clock, HealthSettings settings = {});
  ~HealthChecker();
  HealthChecker(const HealthChecker&) = delete;
  HealthChecker& operator=(const HealthChecker&) = delete;

  // From now on the health service of `server` follows, for "" and `services`. Both are borrowed until stop().
  void start(grpc::HealthCheckServiceInterface* service, std::vector<std::string> services);
  // NOT_SERVING for good; new calls to the database cease.
  void stop();
  // True while the database answers and stop() has not been called. Thread-safe.
  bool serving() const { return serving_; }
  // True once it has been serving.
  bool ever_served() const { return ever_served_; }
  // Why not, for people.
  std::string reason() const;

 private:
  void ask_loop(std::stop_token stop);
  void judge_loop(std::stop_token stop);
  void publish(bool serving);

  const std::function<Status()> ask_;
  Clock& clock_;
  const HealthSettings settings_;
  grpc::HealthCheckServiceInterface* service_ = nullptr;
  std::vector<std::string> services_;
  std::atomic<bool> serving_{false};
  std::atomic<bool> ever_served_{false};
  mutable Mutex mutex_;
  MonotonicTime answered_ GUARDED_BY(mutex_);
  bool ever_answered_ GUARDED_BY(mutex_) = false;
  Status last_ GUARDED_BY(mutex_);
  bool stopping_ GUARDED_BY(mutex_) = false;
  std::jthread asking_;
  std::jthread judging_;
};

}  // namespace headgate::engine
