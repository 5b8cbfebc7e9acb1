#include "base/memory.h"

#include <fcntl.h>
#include <malloc.h>
#include <unistd.h>

#include <cstdlib>

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

size_t resident_bytes() {
  static const int statm = ::open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
  static const auto page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  char text[128] = {};
  if (::pread(statm, text, sizeof(text) - 1, 0) <= 0) return 0;
  char* rest = nullptr;
  std::strtoull(text, &rest, 10);
  return std::strtoull(rest, nullptr, 10) * page;
}

}  // namespace headgate
