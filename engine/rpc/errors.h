// From our Status to what clients of base.v1 see. The only place that decides it.
#pragma once

#include "base/status.h"
#include "base/v1/errors.pb.h"

namespace headgate::engine {

// Texts that begin with ERROR_CODE_, "invalid " or "failed to evaluate expression: " were made for clients and pass, as
// do those of RESOURCE_EXHAUSTED and OUT_OF_RANGE. A database that is away becomes `away`, the code that Permify gives
// in the same call. Everything else is logged here and becomes ERROR_CODE_INTERNAL: texts of drivers may name users and
// hosts.
Status for_client(const Status& status, base::v1::ErrorCode away);

}  // namespace headgate::engine
