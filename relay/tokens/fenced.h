// The one text for a commit that came too late.
#pragma once

#include "base/status.h"

namespace headgate::relay {

inline Status fenced(uint64_t epoch) {
  return status_of(StatusCode::kFailedPrecondition,
                   "epoch {} does not own the token store any more: another relay of the same name has taken over",
                   epoch);
}

}  // namespace headgate::relay
