// How a stream's end looks to its client: a gRPC status with google.rpc details. Thread-safe.
#pragma once

#include <grpcpp/grpcpp.h>

#include <optional>

#include "base/clock.h"
#include "base/status.h"

namespace headgate::engine {

// Reasons (feed/start.h) become google.rpc.ErrorInfo of domain "headgate", `retry_after` a google.rpc.RetryInfo.
// Internal texts are logged and not shown: they may name what is nobody's business.
grpc::Status stream_status(const Status& status, std::optional<Duration> retry_after = std::nullopt);

// Uniform in [0, max].
Duration random_delay(Duration max);

}  // namespace headgate::engine
