#include "engine/rpc/error_details.h"

#include <absl/strings/cord.h>

#include <random>

#include "base/backoff.h"
#include "base/log.h"
#include "base/postgres/errors.h"
#include "engine/model/reasons.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace headgate::engine {

namespace {

// Clients that were not told otherwise spread their return over this time.
constexpr Duration kReturnWithin{2'000};

constexpr char kDetailsUrl[] = "headgate.dev/google.rpc.Status";

Status presentable(const Status& status) {
  switch (status.code()) {
    case StatusCode::kInternal:
    case StatusCode::kUnknown:
      log_error("watch_stream_failed", {{"error", describe(status)}});
      return make_status(StatusCode::kInternal, "ERROR_CODE_INTERNAL");
    case StatusCode::kDeadlineExceeded:
    case StatusCode::kAborted:
      log_warn("watch_stream_failed", {{"error", describe(status)}});
      return unavailable("the database did not answer in time; try again later");
    case StatusCode::kUnavailable:
      // What follows names servers and users.
      return message_of(status).rfind(kDatabaseAway, 0) == 0 ? unavailable("{}", kDatabaseAway) : status;
    default: return status;
  }
}

}  // namespace

Duration random_delay(Duration max) {
  thread_local std::mt19937_64 random(random_seed());
  return Duration(std::uniform_int_distribution<Duration::rep>(0, std::max<Duration::rep>(0, max.count()))(random));
}

Status with_details(const Status& status, std::optional<Duration> retry_after) {
  if (status.ok()) return status;
  Status shown = presentable(status);
  const bool comes_back = shown.code() == StatusCode::kUnavailable || shown.code() == StatusCode::kResourceExhausted;
  if (comes_back && !retry_after) retry_after = random_delay(kReturnWithin);
  google::rpc::Status details;
  details.set_code(static_cast<int>(shown.code()));
  details.set_message(message_of(shown));
  if (const std::string reason = reason_of(shown); !reason.empty()) {
    google::rpc::ErrorInfo info;
    info.set_reason(reason);
    info.set_domain("headgate");
    details.add_details()->PackFrom(info);
  }
  if (retry_after) {
    google::rpc::RetryInfo info;
    info.mutable_retry_delay()->set_seconds(retry_after->count() / 1000);
    info.mutable_retry_delay()->set_nanos(static_cast<int>(retry_after->count() % 1000) * 1'000'000);
    details.add_details()->PackFrom(info);
  }
  shown.SetPayload(kDetailsUrl, absl::Cord(details.SerializeAsString()));
  return shown;
}

std::string details_of(const Status& status) {
  const auto payload = status.GetPayload(kDetailsUrl);
  return payload.has_value() ? std::string(*payload) : std::string();
}

}  // namespace headgate::engine
