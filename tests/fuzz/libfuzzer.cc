// The program of one target for libFuzzer; HEADGATE_FUZZ_TARGET names it.
#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "tests/fuzz/properties.h"

#define HEADGATE_JOIN_INNER(a, b) a##b
#define HEADGATE_JOIN(a, b) HEADGATE_JOIN_INNER(a, b)
#define HEADGATE_TARGET HEADGATE_JOIN(HEADGATE_FUZZ_TARGET, _target)

namespace headgate::fuzz {
void HEADGATE_TARGET(std::string_view input);
}  // namespace headgate::fuzz

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  headgate::fuzz::be_quiet();
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    headgate::fuzz::HEADGATE_TARGET({reinterpret_cast<const char*>(data), size});
  } catch (const headgate::fuzz::Violation& violation) {
    std::fprintf(stderr, "PROPERTY BROKEN: %s\n", violation.what());
    std::abort();
  }
  return 0;
}
