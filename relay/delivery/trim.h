// Gives memory that was only needed for a moment back to the system.
#pragma once

#include <malloc.h>

namespace headgate::relay {

// For the few places that have just dropped copies of all cursors: with ten thousand tenants that is more than what is
// kept, and the C library would hold on to it. Takes a millisecond or so; thread-safe.
inline void return_free_memory() {
#ifdef __GLIBC__
  ::malloc_trim(0);
#endif
}

}  // namespace headgate::relay
