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
  kLockHolders,          // engine/storage: engine transactions in progress hold the horizon
  kUnknownWriters,       // engine/storage: a transaction of which it is not known whose it is holds all tenants back
  kLockOrder,            // engine/storage: locks are read behind the snapshot that they explain
  kChangeOrder,          // engine/storage: deletes come before creates
  kTokenHoles,           // engine/feed: what was in progress beside a token is sent behind it
  kTokenFloor,           // engine/feed: tokens behind which history was collected are refused
  kTokenIncarnation,     // engine/feed: tokens of an earlier incarnation are refused
  kXidOrder,             // engine/feed: history is read in the order of xids
  kPartTokens,           // engine/feed: a part that is not the last names the position in front of its transaction
  kPageFloors,           // engine/feed: a stream that reads history notices the collector that was faster
  kRingFloors,           // engine/feed: the feed itself notices it
  kRingRecount,          // engine/feed: after an outage the ring is compared with the database
  kCheckState,           // engine/storage: what was in progress at a state is not seen at it
  kCheckExclusion,       // engine/check: who is taken out is denied
  kCheckFailures,        // engine/check: what fails is no denial
  kCheckCircles,         // engine/check: what denies itself fails, also in a circle
  kCheckSubjects,        // engine/check: a sub-problem is one subject's
  kCheckContext,         // engine/check: sets of subjects of the context count
  kCheckArrows,          // engine/check: an arrow leads to all of its subjects
  kCheckValues,          // engine/check: a boolean of the context goes before a stored one
  kLookupPages,          // engine/check: a page begins with the entity that the one before has named
  kLookupSides,          // engine/check: a lookup follows both sides of "or"
  kLookupValues,         // engine/check: a lookup by values looks at every id of the type
  kDrainSpread,          // engine/watch: streams that are ended are spread over the drain window
  kCursorAfterAck,       // relay/delivery: a cursor moves when the sink has acknowledged
  kProgressAfterEvents,  // relay/delivery: a mark of progress counts once what came before it is acknowledged
  kCatchUp,              // relay/delivery: a sink that is behind reads from its own cursor
  kSkipRepeats,          // relay/delivery: an event that the sink has is not numbered and sent again
  kAskSink,              // relay/delivery: what the sink itself holds wins over the cursor
  kOwnerEpoch,           // relay/tokens: a commit of a replaced relay is refused
  kStreamSequence,       // sinks/nats: the server checks the subject's last sequence
  kRedisEpoch,           // sinks/redis: the script refuses an older owner
  kRedisPlace,           // sinks/redis: the script refuses what lies behind the position
  kKafkaIdempotence,     // sinks/kafka: the broker refuses a request that it has stored
};

#ifdef HEADGATE_GUARD_SWITCHES
// Thread-safe; the environment is read once.
bool guarded(Guard guard);
#else
constexpr bool guarded(Guard) { return true; }
#endif

}  // namespace headgate
