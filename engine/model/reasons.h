// Why a position, a token or a state cannot be served: names for programs, as google.rpc.ErrorInfo.reason.
#pragma once

#include <string>
#include <string_view>

#include "base/status.h"

namespace headgate::engine {

inline constexpr std::string_view kHistoryGone = "HISTORY_GONE";
inline constexpr std::string_view kHistoryReplaced = "HISTORY_REPLACED";
inline constexpr std::string_view kHistoryStartsLater = "HISTORY_STARTS_LATER";
inline constexpr std::string_view kUnknownToken = "UNKNOWN_TOKEN";
inline constexpr std::string_view kFutureToken = "FUTURE_TOKEN";
inline constexpr std::string_view kMalformedToken = "MALFORMED_TOKEN";
inline constexpr std::string_view kOtherIncarnation = "OTHER_INCARNATION";
inline constexpr std::string_view kRowUnreadable = "ROW_UNREADABLE";
inline constexpr std::string_view kTenantRemoved = "TENANT_REMOVED";

// A Status with a reason attached, for the edge to put into ErrorInfo.
Status refusal(StatusCode code, std::string_view reason, std::string_view text);
// "" when the status carries none.
std::string reason_of(const Status& status);

}  // namespace headgate::engine
