#include "relay/admin/readiness.h"

namespace headgate::relay {

namespace {

std::string obstacle(const RelayReport& report) {
  if (report.fenced) return "another relay of this name has taken over";
  if (report.phase != "running") {
    return report.phase_error.empty() ? report.phase : report.phase + ": " + report.phase_error;
  }
  if (!has_started(report)) {
    const std::string error = report.source.has_value() ? report.source->last_error : "";
    return "the source has not been reached yet" + (error.empty() ? "" : ": " + error);
  }
  return "";
}

}  // namespace

bool has_started(const RelayReport& report) { return report.source.has_value() && report.source->opened > 0; }

ReadinessAnswer Readiness::judge(const RelayReport& report) {
  const std::string why = obstacle(report);
  MutexLock lock(mutex_);
  if (why.empty()) {
    was_ready_ = true;
    last_good_ = clock_.now();
    return {true, ""};
  }
  // A planned end is told at once, so that nobody waits for us.
  const bool blip = was_ready_ && report.phase != "stopping" && clock_.now() - last_good_ < hold_;
  if (!blip) was_ready_ = false;
  return {blip, why};
}

}  // namespace headgate::relay
