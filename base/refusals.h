// What a refusal of somebody else's server means: the one table of what PostgreSQL, Redis, Kafka, NATS and an upstream
// answer when they will not, or cannot. docs/refusals.md shows it to operators.
//
// Only RefusalKind::kEvent speaks of the event itself. All else speaks of the server, of rights or of a place: it is
// tried again for ever, and the event that met it is as good as any other.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "base/status.h"

namespace headgate {

enum class RefusalKind {
  kAway,      // not there, not ready, or slow
  kRights,    // who we are may not do this
  kLimit,     // no room: memory, disk, connections
  kTopology,  // not here: another server, no leader, an absent or misplaced thing
  kQuota,     // what the account may use is used up
  kVersion,   // the server does not know what is asked for
  kEvent,     // this one event can never be taken
};
inline constexpr RefusalKind kRefusalKinds[] = {RefusalKind::kAway,     RefusalKind::kRights, RefusalKind::kLimit,
                                                RefusalKind::kTopology, RefusalKind::kQuota,  RefusalKind::kVersion,
                                                RefusalKind::kEvent};
// "away", "rights" ...: in /status, as label of metrics, in the log.
std::string_view refusal_word(RefusalKind kind);

enum class ServerKind { kPostgres, kRedis, kKafka, kNats, kUpstream };
std::string_view server_word(ServerKind server);

struct RefusalRow {
  ServerKind server;
  // In the server's own words: SQLSTATE (or its class), the first words of Redis' error, librdkafka's name, JetStream's
  // number or the words of NATS, gRPC's code.
  std::string_view code;
  RefusalKind kind;
  std::string_view means;
  std::string_view help;  // empty: waiting helps
};
std::span<const RefusalRow> refusal_rows();
// The row with the longest code that `told` begins with, of Kafka and upstream the one with exactly that. nullptr when
// the table has none: then it is tried again like a server that is away.
const RefusalRow* find_refusal(ServerKind server, std::string_view told);

// A status that says which kind of refusal it is; codes alone would not tell rights from quotas.
Status with_refusal(Status status, RefusalKind kind);
// Another text for the same failure: code and kind stay.
Status reworded(const Status& status, std::string_view text);
// As it was told, else by the code.
RefusalKind refusal_kind(const Status& status);
// "rights: PERMISSION_DENIED: may not": for pages and logs.
std::string described_refusal(const Status& status);
// The code that such a refusal has where nothing else decides. UNAVAILABLE, DEADLINE_EXCEEDED and the others stay apart
// in base/status.h.
StatusCode code_of(RefusalKind kind);

// The rows as a table of Markdown, by server.
std::string refusals_as_markdown();

}  // namespace headgate
