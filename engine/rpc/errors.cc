#include "engine/rpc/errors.h"

#include "base/log.h"
#include "engine/model/errors.h"

namespace headgate::engine {
namespace {

bool made_for_clients(const std::string& text) {
  return text.rfind("ERROR_CODE_", 0) == 0 || text.rfind("invalid ", 0) == 0 ||
         text.rfind("failed to evaluate expression: ", 0) == 0;
}

}  // namespace

Status for_client(const Status& status, base::v1::ErrorCode away) {
  if (status.ok()) return status;
  const std::string text = message_of(status);
  if (made_for_clients(text)) return status;
  switch (status.code()) {
    case StatusCode::kResourceExhausted:
    case StatusCode::kOutOfRange:
    case StatusCode::kCancelled: return status;
    case StatusCode::kInvalidArgument: return api_error(base::v1::ERROR_CODE_INVALID_ARGUMENT, text);
    case StatusCode::kAborted: return api_error(base::v1::ERROR_CODE_SERIALIZATION);
    case StatusCode::kDeadlineExceeded:
      return make_status(StatusCode::kDeadlineExceeded, base::v1::ErrorCode_Name(base::v1::ERROR_CODE_CANCELLED));
    case StatusCode::kUnavailable: log_warn("database_away", {{"error", text}}); return api_error(away);
    default: log_error("call_failed", {{"error", describe(status)}}); return api_error(base::v1::ERROR_CODE_INTERNAL);
  }
}

}  // namespace headgate::engine
