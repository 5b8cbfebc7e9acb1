#include "engine/model/errors.h"

namespace headgate::engine {

using base::v1::ErrorCode;

StatusCode code_of(ErrorCode code) {
  switch (code) {
    case base::v1::ERROR_CODE_CANCELLED: return StatusCode::kCancelled;
    case base::v1::ERROR_CODE_NOT_IMPLEMENTED: return StatusCode::kUnimplemented;
    case base::v1::ERROR_CODE_SERIALIZATION: return StatusCode::kAborted;
    default: break;
  }
  switch (code / 1000) {
    case 1: return StatusCode::kUnauthenticated;
    case 2: return StatusCode::kInvalidArgument;
    case 4: return StatusCode::kNotFound;
    default: return StatusCode::kInternal;
  }
}

Status api_error(ErrorCode code) { return make_status(code_of(code), base::v1::ErrorCode_Name(code)); }

Status api_error(ErrorCode code, std::string_view detail) {
  return status_of(code_of(code), "{}: {}", base::v1::ErrorCode_Name(code), detail);
}

}  // namespace headgate::engine
