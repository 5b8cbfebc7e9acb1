// Whether a state can be read at all, and what is said of a row that cannot.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/snap_token.h"
#include "base/status.h"

namespace headgate::engine {

// What the server says in the snapshot in which it gives the rows.
struct StateFacts {
  uint64_t floor = 0;    // of the tenant: below it history may be gone
  uint64_t horizon = 0;  // xids from here on had not begun
  bool standby = false;
  bool known = true;  // the xid of a legacy token is that of a transaction
};

// OUT_OF_RANGE when history is gone, or when the token is from the future or of no transaction; UNAVAILABLE when a
// standby has not come to it.
Status check_readable(const SnapToken& at, const StateFacts& facts);

// For a read without whose row the answer would be wrong; logs which row it is, and says it. SCAN.
Status refuse_unreadable(std::string_view what);

}  // namespace headgate::engine
