#include "base/memory.h"

#include <malloc.h>

#include <cstddef>

// Of jemalloc; null where it is not linked.
extern "C" int mallctl(const char* name, void* old_value, size_t* old_size, void* new_value, size_t new_size)
    __attribute__((weak));

namespace headgate {

void return_free_memory() {
  if (mallctl != nullptr) {
    // 4096 stands for all arenas.
    mallctl("arena.4096.purge", nullptr, nullptr, nullptr, 0);
    return;
  }
#ifdef __GLIBC__
  ::malloc_trim(0);
#endif
}

}  // namespace headgate
