#include "engine/rpc/method_metrics.h"

namespace headgate::engine {

MethodMetrics::MethodMetrics(Metrics& metrics, std::string name)
    : metrics_(metrics),
      name_(std::move(name)),
      seconds_(metrics.histogram("headgate_engine_rpc_seconds", "Time from arrival to answer of a call.",
                                 {{"method", name_}})) {}

void MethodMetrics::on_finished(StatusCode code, double seconds) {
  seconds_.Observe(seconds);
  const size_t index = std::min<size_t>(static_cast<size_t>(code), by_code_.size() - 1);
  Counter* counter = by_code_[index].load();
  if (counter == nullptr) {
    counter = &metrics_.counter("headgate_engine_rpc_total", "Calls answered.",
                                {{"method", name_}, {"code", std::string(code_name(code))}});
    by_code_[index] = counter;
  }
  counter->Increment();
}

}  // namespace headgate::engine
