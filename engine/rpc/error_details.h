// Errors of the feed's services as their clients see them: with google.rpc details. Thread-safe.
#pragma once

#include <optional>
#include <string>

#include "base/clock.h"
#include "base/status.h"

namespace headgate::engine {

// Reasons (engine/model/reasons.h) become google.rpc.ErrorInfo of domain "headgate", `retry_after` a
// google.rpc.RetryInfo. Internal texts are logged and not shown: they may name what is nobody's business.
Status with_details(const Status& status, std::optional<Duration> retry_after = std::nullopt);
// The google.rpc.Status of such an error, serialized; empty when it has none.
std::string details_of(const Status& status);

// Uniform in [0, max].
Duration random_delay(Duration max);

}  // namespace headgate::engine
