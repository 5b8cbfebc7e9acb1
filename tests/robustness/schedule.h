// How long the suites attack: briefly in the test command, long with HEADGATE_ROBUSTNESS_SECONDS; and with which seed.
#pragma once

#include <chrono>
#include <cstdint>

#include "tests/support/program.h"

namespace headgate::testing {

// HEADGATE_ROBUSTNESS_SECONDS, else `brief`.
std::chrono::seconds attack_time(std::chrono::seconds brief);
// HEADGATE_ROBUSTNESS_SEED, else one from the clock. Printed, so that a run can be repeated.
uint64_t attack_seed();
// Behind a kill. A server may find its port or its shared memory still taken for a moment.
void start_again(Program& program);

}  // namespace headgate::testing
