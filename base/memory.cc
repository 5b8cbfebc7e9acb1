#include "base/memory.h"

#include <fcntl.h>
#include <malloc.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
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

namespace {

struct Pages {
  size_t in_all = 0;
  size_t resident = 0;
};

Pages pages() {
  static const int statm = ::open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
  char text[128] = {};
  if (::pread(statm, text, sizeof(text) - 1, 0) <= 0) return {};
  char* rest = nullptr;
  Pages pages;
  pages.in_all = std::strtoull(text, &rest, 10);
  pages.resident = std::strtoull(rest, nullptr, 10);
  return pages;
}

size_t page_bytes() {
  static const auto bytes = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  return bytes;
}

// What jemalloc has given up, and keeps the addresses of.
size_t retained_bytes() {
  if (mallctl == nullptr) return 0;
  uint64_t epoch = 1;
  mallctl("epoch", nullptr, nullptr, &epoch, sizeof(epoch));
  size_t retained = 0, size = sizeof(retained);
  return mallctl("stats.retained", &retained, &size, nullptr, 0) == 0 ? retained : 0;
}

}  // namespace

size_t resident_bytes() { return pages().resident * page_bytes(); }

size_t address_space_bytes() {
  const size_t kept = retained_bytes();
  const size_t all = pages().in_all * page_bytes();
  return all - std::min(all, kept);
}

}  // namespace headgate
