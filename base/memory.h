// Memory of the process as a whole. The programs use jemalloc (ops/decisions/0006), tests and sanitizers the C library.
#pragma once

#include <cstddef>

namespace headgate {

// Gives memory that was only needed for a moment back to the system. For the few places that have just dropped copies
// of all cursors: with ten thousand tenants that is more than what is kept. Takes a millisecond or so; thread-safe.
void return_free_memory();

// What the process has in memory now, as the system counts it; 0 when it does not tell. Takes microseconds;
// thread-safe.
size_t resident_bytes();

// Address space, without what the allocator keeps of it for later. Takes some tens of microseconds; thread-safe.
size_t address_space_bytes();

}  // namespace headgate
