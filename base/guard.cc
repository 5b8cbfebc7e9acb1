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
    std::pair{"unknown_writers", Guard::kUnknownWriters},
    std::pair{"lock_order", Guard::kLockOrder},
    std::pair{"change_order", Guard::kChangeOrder},
    std::pair{"token_holes", Guard::kTokenHoles},
    std::pair{"token_floor", Guard::kTokenFloor},
    std::pair{"token_incarnation", Guard::kTokenIncarnation},
    std::pair{"xid_order", Guard::kXidOrder},
    std::pair{"part_tokens", Guard::kPartTokens},
    std::pair{"page_floors", Guard::kPageFloors},
    std::pair{"ring_floors", Guard::kRingFloors},
    std::pair{"ring_recount", Guard::kRingRecount},
    std::pair{"check_state", Guard::kCheckState},
    std::pair{"check_exclusion", Guard::kCheckExclusion},
    std::pair{"check_failures", Guard::kCheckFailures},
    std::pair{"check_circles", Guard::kCheckCircles},
    std::pair{"check_subjects", Guard::kCheckSubjects},
    std::pair{"check_context", Guard::kCheckContext},
    std::pair{"check_arrows", Guard::kCheckArrows},
    std::pair{"check_values", Guard::kCheckValues},
    std::pair{"lookup_pages", Guard::kLookupPages},
    std::pair{"lookup_sides", Guard::kLookupSides},
    std::pair{"lookup_values", Guard::kLookupValues},
    std::pair{"drain_spread", Guard::kDrainSpread},
    std::pair{"cursor_after_ack", Guard::kCursorAfterAck},
    std::pair{"progress_after_events", Guard::kProgressAfterEvents},
    std::pair{"catch_up", Guard::kCatchUp},
    std::pair{"skip_repeats", Guard::kSkipRepeats},
    std::pair{"ask_sink", Guard::kAskSink},
    std::pair{"owner_epoch", Guard::kOwnerEpoch},
    std::pair{"stream_sequence", Guard::kStreamSequence},
    std::pair{"redis_epoch", Guard::kRedisEpoch},
    std::pair{"redis_place", Guard::kRedisPlace},
    std::pair{"kafka_idempotence", Guard::kKafkaIdempotence},
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
