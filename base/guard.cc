#include "base/guard.h"

#ifdef HEADGATE_GUARD_SWITCHES
#include <array>
#include <cstdio>
#include <cstdlib>
#include <set>
#include <sstream>
#include <string>
#include <utility>

namespace headgate {
namespace {

constexpr std::array kNames = {
    std::pair{"lock_holders", Guard::kLockHolders},
};

std::set<Guard> read_guards_off() {
  std::set<Guard> off;
  const char* text = std::getenv("HEADGATE_GUARDS_OFF");
  std::istringstream words(text == nullptr ? "" : text);
  for (std::string word; std::getline(words, word, ',');) {
    bool known = false;
    for (const auto& [name, guard] : kNames) {
      if (word != name) continue;
      off.insert(guard);
      known = true;
    }
    if (known) continue;
    std::fprintf(stderr, "error: HEADGATE_GUARDS_OFF names the guard '%s', which does not exist\n", word.c_str());
    std::exit(2);
  }
  return off;
}

}  // namespace

bool guarded(Guard guard) {
  static const std::set<Guard> kOff = read_guards_off();
  return !kOff.contains(guard);
}

}  // namespace headgate
#endif
