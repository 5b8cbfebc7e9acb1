// Switches for the tests that show what each guard is good for: the robustness suite starts a program with one guard
// off and demands that a validator notices (tests/robustness/README.md has the table).
//
// Only builds with HEADGATE_GUARD_SWITCHES have the switches; in all others, the release preset among them, every guard
// is the constant true and costs nothing. HEADGATE_GUARDS_OFF names the guards that are off, separated by commas; a
// name that does not exist ends the program, because such a test would prove nothing.
#pragma once

namespace headgate {

// Each stands at one place in the code that asks guarded().
enum class Guard {
  kLockHolders,  // engine/storage: engine transactions in progress hold the horizon
};

#ifdef HEADGATE_GUARD_SWITCHES
// Thread-safe; the environment is read once.
bool guarded(Guard guard);
#else
constexpr bool guarded(Guard) { return true; }
#endif

}  // namespace headgate
