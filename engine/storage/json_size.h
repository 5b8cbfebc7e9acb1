// How large a change can become as JSON, without printing it.
#pragma once

#include <cstddef>

#include "base/v1/base.pb.h"

namespace headgate::engine {

// As JSON the changes of a message take at most this, unless it is one change: below a million bytes together with
// whatever a sink puts around them, which is what brokers take by default.
inline constexpr size_t kJsonBytesMax = 950'000;

// Never less than protobuf's JSON of it, with the names of the proto and no white space, and a comma behind. Costs a
// walk over its bytes.
size_t json_bytes_at_most(const base::v1::DataChange& change);

}  // namespace headgate::engine
