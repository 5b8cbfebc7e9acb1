#include "engine/api/health.h"

#include "base/log.h"

namespace headgate::engine {

HealthChecker::HealthChecker(std::function<Status()> ask, Clock& clock, HealthSettings settings)
    : ask_(std::move(ask)), clock_(clock), settings_(settings) {}

HealthChecker::~HealthChecker() { stop(); }

void HealthChecker::start(grpc::HealthCheckServiceInterface* service, std::vector<std::string> services) {
  service_ = service;
  services_ = std::move(services);
  publish(false);
  asking_ = std::jthread([this](std::stop_token stop) { ask_loop(stop); });
  judging_ = std::jthread([this](std::stop_token stop) { judge_loop(stop); });
}

void HealthChecker::stop() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
  }
  asking_.request_stop();
  judging_.request_stop();
  if (judging_.joinable()) {
    judging_.join();
    publish(false);
  }
  service_ = nullptr;
}

std::string HealthChecker::reason() const {
  MutexLock lock(mutex_);
  if (serving_) return "";
  // Before any answer: the question that is still on its way may yet bring a good one.
  if (stopping_) return "shutting down";
  if (!last_.ok()) return message_of(last_);
  return ever_answered_ ? "the database does not answer" : "the database has not answered yet";
}

void HealthChecker::ask_loop(std::stop_token stop) {
  while (!stop.stop_requested()) {
    const Status status = ask_();
    {
      MutexLock lock(mutex_);
      last_ = status;
      if (status.ok()) {
        answered_ = clock_.now();
        ever_answered_ = true;
      }
    }
    // A start should not be held up by the pace of later questions.
    clock_.sleep(ever_served_ ? settings_.interval : Duration(10), stop);
  }
}

void HealthChecker::judge_loop(std::stop_token stop) {
  do {
    bool good = false;
    {
      MutexLock lock(mutex_);
      good = ever_answered_ && last_.ok() && clock_.now() - answered_ < settings_.interval + settings_.answer_max;
    }
    if (good != serving_) publish(good);
  } while (clock_.sleep(ever_served_ ? Duration(50) : Duration(5), stop));
}

void HealthChecker::publish(bool serving) {
  const bool was = serving_.exchange(serving);
  if (serving) ever_served_ = true;
  if (was != serving) log_info("health", {{"serving", serving}, {"reason", serving ? "" : reason()}});
  if (service_ == nullptr) return;
  service_->SetServingStatus("", serving);
  for (const std::string& name : services_) service_->SetServingStatus(name, serving);
}

}  // namespace headgate::engine
