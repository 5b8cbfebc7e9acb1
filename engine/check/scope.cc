#include "engine/check/scope.h"

namespace headgate::engine {

Status Scope::still_wanted() const {
  HG_RETURN_IF_ERROR(wanted ? wanted() : ok_status());
  if (std::chrono::steady_clock::now() < end) return ok_status();
  return make_status(StatusCode::kDeadlineExceeded, "the answer took too long");
}

BatchLimits Scope::batch_limits() const {
  BatchLimits batch = limits.batch;
  if (end != MonotonicTime::max()) {
    const auto left = std::chrono::duration_cast<Duration>(end - std::chrono::steady_clock::now());
    batch.time_max = std::max(left, Duration(1));
  }
  return batch;
}

}  // namespace headgate::engine
