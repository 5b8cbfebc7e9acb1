#include "base/status.h"

#include <cstdio>
#include <cstdlib>

namespace headgate {

Reaction reaction_to(const Status& status) {
  switch (status.code()) {
    case StatusCode::kUnavailable:
    case StatusCode::kDeadlineExceeded:
    case StatusCode::kAborted:
    case StatusCode::kResourceExhausted:
    case StatusCode::kUnknown:
    case StatusCode::kInternal: return Reaction::kRetry;
    case StatusCode::kOutOfRange:
    case StatusCode::kDataLoss: return Reaction::kResync;
    case StatusCode::kCancelled: return Reaction::kLeave;
    default: return Reaction::kStop;
  }
}

std::string_view code_name(StatusCode code) {
  switch (code) {
    case StatusCode::kOk: return "OK";
    case StatusCode::kCancelled: return "CANCELLED";
    case StatusCode::kUnknown: return "UNKNOWN";
    case StatusCode::kInvalidArgument: return "INVALID_ARGUMENT";
    case StatusCode::kDeadlineExceeded: return "DEADLINE_EXCEEDED";
    case StatusCode::kNotFound: return "NOT_FOUND";
    case StatusCode::kAlreadyExists: return "ALREADY_EXISTS";
    case StatusCode::kPermissionDenied: return "PERMISSION_DENIED";
    case StatusCode::kResourceExhausted: return "RESOURCE_EXHAUSTED";
    case StatusCode::kFailedPrecondition: return "FAILED_PRECONDITION";
    case StatusCode::kAborted: return "ABORTED";
    case StatusCode::kOutOfRange: return "OUT_OF_RANGE";
    case StatusCode::kUnimplemented: return "UNIMPLEMENTED";
    case StatusCode::kInternal: return "INTERNAL";
    case StatusCode::kUnavailable: return "UNAVAILABLE";
    case StatusCode::kDataLoss: return "DATA_LOSS";
    case StatusCode::kUnauthenticated: return "UNAUTHENTICATED";
    default: return "UNKNOWN";
  }
}

std::string describe(const Status& status) {
  if (status.ok()) return "OK";
  return fmt::format("{}: {}", code_name(status.code()), message_of(status));
}

void check_failed(const char* condition, const char* file, int line) {
  std::fprintf(stderr, "headgate: broken invariant at %s:%d: %s\n", file, line, condition);
  std::abort();
}

}  // namespace headgate
