#include "engine/model/reasons.h"

#include <absl/strings/cord.h>

namespace headgate::engine {

namespace {

constexpr char kReasonUrl[] = "headgate.dev/reason";

}  // namespace

Status refusal(StatusCode code, std::string_view reason, std::string_view text) {
  Status status = make_status(code, text);
  status.SetPayload(kReasonUrl, absl::Cord(absl::string_view(reason.data(), reason.size())));
  return status;
}

std::string reason_of(const Status& status) {
  const auto payload = status.GetPayload(kReasonUrl);
  return payload.has_value() ? std::string(*payload) : std::string();
}

}  // namespace headgate::engine
