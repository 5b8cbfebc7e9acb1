// Errors as values. Codes equal gRPC's, so an edge maps them one to one.
//
// A text says what was tried, with which id, and what helps. It never holds a secret or a whole snap token.
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <fmt/format.h>

#include <string>
#include <string_view>
#include <utility>

namespace headgate {

using Status = absl::Status;
template <typename T>
using StatusOr = absl::StatusOr<T>;
using StatusCode = absl::StatusCode;

inline Status ok_status() { return absl::OkStatus(); }

// Debian's abseil has a string_view of its own; these two functions are the only bridge.
inline Status make_status(StatusCode code, std::string_view text) {
  return Status(code, absl::string_view(text.data(), text.size()));
}
inline std::string message_of(const Status& status) { return std::string(status.message()); }

template <typename... Args>
Status status_of(StatusCode code, fmt::format_string<Args...> format, Args&&... args) {
  return make_status(code, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
Status invalid_argument(fmt::format_string<Args...> format, Args&&... args) {
  return status_of(StatusCode::kInvalidArgument, format, std::forward<Args>(args)...);
}
template <typename... Args>
Status unavailable(fmt::format_string<Args...> format, Args&&... args) {
  return status_of(StatusCode::kUnavailable, format, std::forward<Args>(args)...);
}
template <typename... Args>
Status internal_error(fmt::format_string<Args...> format, Args&&... args) {
  return status_of(StatusCode::kInternal, format, std::forward<Args>(args)...);
}

// What a loop does with a failure. The one place that decides.
enum class Reaction {
  kRetry,   // UNAVAILABLE, DEADLINE_EXCEEDED, ABORTED, RESOURCE_EXHAUSTED, UNKNOWN, INTERNAL: again, with back-off
  kResync,  // OUT_OF_RANGE, DATA_LOSS: the position is gone; the token policy decides
  kLeave,   // CANCELLED: we are shutting down
  kStop,    // the rest: stop this part and show it in /status
};
Reaction reaction_to(const Status& status);

// The code's name as gRPC spells it, e.g. "UNAVAILABLE".
std::string_view code_name(StatusCode code);

// "UNAVAILABLE: connection refused"; "OK" when ok.
std::string describe(const Status& status);

}  // namespace headgate

#define HG_CONCAT_INNER(a, b) a##b
#define HG_CONCAT(a, b) HG_CONCAT_INNER(a, b)

#define HG_RETURN_IF_ERROR(expression)            \
  do {                                            \
    ::headgate::Status hg_status_ = (expression); \
    if (!hg_status_.ok()) return hg_status_;      \
  } while (false)

#define HG_ASSIGN_OR_RETURN(target, expression) \
  HG_ASSIGN_OR_RETURN_INNER(HG_CONCAT(hg_or_, __LINE__), target, expression)
#define HG_ASSIGN_OR_RETURN_INNER(holder, target, expression) \
  auto holder = (expression);                                 \
  if (!holder.ok()) return holder.status();                   \
  target = std::move(*holder)

// A broken invariant of ours: says where and ends the process, also in release builds.
#define HG_CHECK(condition)                                                     \
  do {                                                                          \
    if (!(condition)) ::headgate::check_failed(#condition, __FILE__, __LINE__); \
  } while (false)

namespace headgate {
[[noreturn]] void check_failed(const char* condition, const char* file, int line);
}
