// The errors that clients of base.v1 expect: the status message is the enum's name, the code follows from its number.
#pragma once

#include "base/status.h"
#include "base/v1/errors.pb.h"

namespace headgate::engine {

// CANCELLED and NOT_IMPLEMENTED and SERIALIZATION map to CANCELLED, UNIMPLEMENTED and ABORTED; then by thousand:
// 1xxx UNAUTHENTICATED, 2xxx INVALID_ARGUMENT, 4xxx NOT_FOUND, 5xxx INTERNAL.
StatusCode code_of(base::v1::ErrorCode code);

// Message = the enum's name, for example "ERROR_CODE_SCHEMA_NOT_FOUND".
Status api_error(base::v1::ErrorCode code);

// An error whose text a person reads and a program can still tell apart: "NAME: detail".
// Only for codes whose text clients do not match on.
Status api_error(base::v1::ErrorCode code, std::string_view detail);

}  // namespace headgate::engine
