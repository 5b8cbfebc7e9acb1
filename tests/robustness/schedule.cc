#include "tests/robustness/schedule.h"

#include <cstdlib>

#include "tests/support/test_main.h"

namespace headgate::testing {

std::chrono::seconds attack_time(std::chrono::seconds brief) {
  const char* text = std::getenv("HEADGATE_ROBUSTNESS_SECONDS");
  return text == nullptr ? brief : std::chrono::seconds(std::strtol(text, nullptr, 10));
}

uint64_t attack_seed() {
  const char* text = std::getenv("HEADGATE_ROBUSTNESS_SEED");
  const uint64_t seed =
      text == nullptr ? static_cast<uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count() % 1'000'000)
                      : std::strtoull(text, nullptr, 10);
  MESSAGE("seed " << seed << "; HEADGATE_ROBUSTNESS_SEED=" << seed << " repeats it");
  return seed;
}

void start_again(Program& program) {
  for (int attempt = 0;; ++attempt) {
    try {
      return program.start();
    } catch (const std::exception&) {
      if (attempt == 4) throw;
      wait_until([] { return false; }, std::chrono::milliseconds(500));
    }
  }
}

}  // namespace headgate::testing
