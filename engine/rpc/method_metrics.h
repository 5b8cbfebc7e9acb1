// The metrics of one method: headgate_engine_rpc_total and headgate_engine_rpc_seconds. Thread-safe.
#pragma once

#include <array>
#include <atomic>
#include <string>

#include "base/metrics.h"
#include "base/status.h"

namespace headgate::engine {

class MethodMetrics {
 public:
  // `name` as "Data.Write".
  MethodMetrics(Metrics& metrics, std::string name);
  void on_finished(StatusCode code, double seconds);

 private:
  Metrics& metrics_;
  const std::string name_;
  Histogram& seconds_;
  std::array<std::atomic<Counter*>, 17> by_code_{};
};

}  // namespace headgate::engine
