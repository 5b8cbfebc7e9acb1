// The wait that a server asks for (google.rpc.RetryInfo), carried on a Status across the gRPC edge.
#pragma once

#include <charconv>
#include <string>

#include "base/clock.h"
#include "base/status.h"

namespace headgate::relay {

inline constexpr const char* kRetryDelayPayload = "headgate/retry-delay-ms";

inline Status with_retry_delay(Status status, Duration delay) {
  if (!status.ok()) status.SetPayload(kRetryDelayPayload, absl::Cord(std::to_string(delay.count())));
  return status;
}

// 0 when the server did not ask for one.
inline Duration retry_delay_of(const Status& status) {
  const auto payload = status.GetPayload(kRetryDelayPayload);
  if (!payload.has_value()) return Duration(0);
  const std::string text(*payload);
  int64_t milliseconds = 0;
  std::from_chars(text.data(), text.data() + text.size(), milliseconds);
  return Duration(milliseconds);
}

}  // namespace headgate::relay
