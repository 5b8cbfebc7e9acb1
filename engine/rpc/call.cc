#include "engine/rpc/call.h"

#include "engine/model/errors.h"

namespace headgate::engine {

Status Call::wanted() const {
  if (cancellation().stop_requested()) return api_error(base::v1::ERROR_CODE_CANCELLED);
  if (deadline() < std::chrono::system_clock::now()) {
    return make_status(StatusCode::kDeadlineExceeded, "the deadline passed before the call was answered");
  }
  return ok_status();
}

}  // namespace headgate::engine
