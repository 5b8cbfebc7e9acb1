#include "base/refusals.h"

#include <absl/strings/cord.h>

#include <optional>

namespace headgate {
namespace {

using enum RefusalKind;
using enum ServerKind;

constexpr char kPayload[] = "headgate.refusal";

constexpr RefusalRow kRows[] = {
    {kPostgres, "08", kAway, "the connection broke", ""},
    {kPostgres, "57P", kAway, "the server starts, stops or has crashed", ""},
    {kPostgres, "58", kAway, "the server's system failed it (input, output, a file)", "see the server's log"},
    {kPostgres, "XX", kAway, "the server found itself damaged", "see the server's log"},
    {kPostgres, "40", kAway, "a conflict with another transaction", ""},
    {kPostgres, "55P03", kAway, "somebody holds a lock", ""},
    {kPostgres, "28", kRights, "this user, from here, with this password or certificate, is not let in",
     "check the uri, the role and pg_hba.conf"},
    {kPostgres, "42501", kRights, "the role lacks a right", "the message names it; docs/rights.md has all"},
    {kPostgres, "53300", kLimit, "too many connections, of the server, the database or the role",
     "raise max_connections or the CONNECTION LIMIT, or lower database.max_connections"},
    {kPostgres, "53", kLimit, "no disk, no memory", "give the server room"},
    {kPostgres, "54", kLimit, "larger than the server takes", ""},
    {kPostgres, "57014", kLimit, "a statement took longer than statement_timeout", ""},
    {kPostgres, "25006", kTopology, "a read-only transaction: a standby, or default_transaction_read_only",
     "point the uri at the primary (target_session_attrs=read-write)"},
    {kPostgres, "3D000", kTopology, "there is no such database", "create it, or correct the uri"},
    {kPostgres, "3F000", kTopology, "there is no such schema, or none in the search_path may be used",
     "GRANT USAGE on it, or set the search_path of the role"},
    {kPostgres, "26000", kTopology, "a prepared statement is gone: a pooler that lends by transaction",
     "let the pooler lend by session"},
    {kPostgres, "42P05", kTopology, "a prepared statement is there already: a pooler that lends by transaction",
     "let the pooler lend by session"},
    {kPostgres, "42P01", kVersion, "a table is missing", "start with auto_migrate, or run what --print-sql prints"},
    {kPostgres, "42703", kVersion, "a column is missing", "start with auto_migrate, or run what --print-sql prints"},
    {kPostgres, "0A", kVersion, "the server does not know this", "update the server"},

    {kRedis, "LOADING", kAway, "the server reads its data", ""},
    {kRedis, "BUSY", kAway, "a script of somebody runs", ""},
    {kRedis, "NOSCRIPT", kAway, "the server forgot our scripts, as after a restart", ""},
    {kRedis, "EXECABORT", kAway, "a transaction was given up", ""},
    {kRedis, "NOPERM", kRights, "the user may not use this command, key or channel",
     "give the user the commands and keys that docs/rights.md names (ACL SETUSER)"},
    {kRedis, "NOAUTH", kRights, "the server wants a password", "set user and password"},
    {kRedis, "WRONGPASS", kRights, "user and password do not fit", "check user and password"},
    {kRedis, "ERR AUTH ", kRights, "the server knows no password", "leave the password out, or set one on the server"},
    {kRedis, "ERR invalid password", kRights, "the password is wrong", "check user and password"},
    {kRedis, "DENIED", kRights, "protected mode", "set a password on the server, or bind it"},
    {kRedis, "OOM", kLimit, "maxmemory is reached", "raise maxmemory, or keep less with the sink's max_length"},
    {kRedis, "MISCONF", kLimit, "the server cannot write to its disk", "give its disk room; see the server's log"},
    {kRedis, "ERR max number of clients reached", kLimit, "maxclients is reached", "raise maxclients"},
    {kRedis, "MOVED", kTopology, "the key's slot is with another node",
     "the server is a node of a cluster: set mode: cluster and name some nodes in addresses"},
    {kRedis, "ASK", kTopology, "the key's slot moves to another node",
     "the server is a node of a cluster: set mode: cluster and name some nodes in addresses"},
    {kRedis, "CROSSSLOT", kTopology, "the keys have several slots", "the keys need one hash tag"},
    {kRedis, "TRYAGAIN", kTopology, "a slot moves", ""},
    {kRedis, "CLUSTERDOWN", kTopology, "slots of the cluster have no master", "see CLUSTER INFO"},
    {kRedis, "READONLY", kTopology, "the server is a replica", "this is a replica: with Sentinel set mode: sentinel"},
    {kRedis, "MASTERDOWN", kTopology, "a replica without its master", ""},
    {kRedis, "NOREPLICAS", kTopology, "fewer replicas than min-replicas-to-write", ""},
    {kRedis, "UNBLOCKED", kTopology, "the server became a replica", ""},
    {kRedis, "WRONGTYPE", kTopology, "the key holds something else",
     "something else stands under this key: move it away, or choose another prefix"},
    {kRedis, "ERR unknown command", kVersion, "the server does not know the command",
     "Redis 6.2 or newer is needed; a sentinel knows none of them: set mode: sentinel"},
    {kRedis, "ERR unknown subcommand", kVersion, "the server does not know the command",
     "Redis 6.2 or newer is needed"},
    {kRedis, "ERR string exceeds maximum allowed size", kEvent, "larger than proto-max-bulk-len", ""},
    {kRedis, "ERR Protocol error: invalid bulk length", kEvent, "larger than proto-max-bulk-len", ""},
    {kRedis, "ERR Protocol error: invalid multibulk length", kEvent, "more than one command may hold", ""},
    {kRedis, "ERR Protocol error: too big", kEvent, "larger than the server takes", ""},

    {kKafka, "_TRANSPORT", kAway, "no broker answers", ""},
    {kKafka, "_ALL_BROKERS_DOWN", kAway, "no broker answers", ""},
    {kKafka, "_RESOLVE", kAway, "the broker's name is not known", "check brokers, and what they advertise"},
    {kKafka, "_TIMED_OUT", kAway, "no answer in time", ""},
    {kKafka, "_MSG_TIMED_OUT", kAway, "no acknowledgement in time", ""},
    {kKafka, "REQUEST_TIMED_OUT", kAway, "the broker had no answer of the others in time", ""},
    {kKafka, "_AUTHENTICATION", kRights, "the broker does not know user and password",
     "check the sasl options of the sink"},
    {kKafka, "SASL_AUTHENTICATION_FAILED", kRights, "the broker does not know user and password",
     "check the sasl options of the sink"},
    {kKafka, "_SSL", kRights, "TLS failed: a certificate, or no TLS on this port",
     "check security.protocol and the ssl options of the sink"},
    {kKafka, "TOPIC_AUTHORIZATION_FAILED", kRights, "a right on the topic is missing",
     "grant the right, it is tried again"},
    {kKafka, "CLUSTER_AUTHORIZATION_FAILED", kRights, "a right on the cluster is missing",
     "grant the right, it is tried again"},
    {kKafka, "TRANSACTIONAL_ID_AUTHORIZATION_FAILED", kRights, "WRITE and DESCRIBE on the transactional id are missing",
     "grant the right, it is tried again"},
    {kKafka, "GROUP_AUTHORIZATION_FAILED", kRights, "a right on the group is missing",
     "grant the right, it is tried again"},
    {kKafka, "POLICY_VIOLATION", kRights,
     "a policy of the broker forbids it (create.topic.policy, alter.config.policy)",
     "let somebody who may create the topic, or set partitions, replication_factor and topic_config as the policy "
     "asks"},
    {kKafka, "KAFKA_STORAGE_ERROR", kLimit, "the broker cannot write to its disk", "give its disk room"},
    {kKafka, "INVALID_TRANSACTION_TIMEOUT", kLimit, "above the broker's transaction.max.timeout.ms",
     "lower the sink's write_timeout, or raise transaction.max.timeout.ms"},
    {kKafka, "THROTTLING_QUOTA_EXCEEDED", kQuota, "the quota for creating topics is used up", "raise the quota"},
    {kKafka, "_UNKNOWN_TOPIC", kTopology, "there is no such topic", "create the topic, or set create_topics"},
    {kKafka, "UNKNOWN_TOPIC_OR_PART", kTopology, "there is no such topic", "create the topic, or set create_topics"},
    {kKafka, "_UNKNOWN_PARTITION", kTopology, "there is no such partition", ""},
    {kKafka, "TOPIC_EXCEPTION", kTopology, "the topic's name cannot be used, or the topic is the broker's own",
     "choose another topic"},
    {kKafka, "LEADER_NOT_AVAILABLE", kTopology, "a partition has no leader", ""},
    {kKafka, "NOT_LEADER_FOR_PARTITION", kTopology, "the leader has moved", ""},
    {kKafka, "FENCED_LEADER_EPOCH", kTopology, "the leader has moved", ""},
    {kKafka, "REPLICA_NOT_AVAILABLE", kTopology, "a replica is away", ""},
    {kKafka, "BROKER_NOT_AVAILABLE", kTopology, "a broker is away", ""},
    {kKafka, "NOT_CONTROLLER", kTopology, "the controller has moved", ""},
    {kKafka, "COORDINATOR_NOT_AVAILABLE", kTopology, "the coordinator of transactions is away", ""},
    {kKafka, "COORDINATOR_LOAD_IN_PROGRESS", kTopology, "the coordinator of transactions starts", ""},
    {kKafka, "NOT_COORDINATOR", kTopology, "the coordinator of transactions has moved", ""},
    {kKafka, "NOT_ENOUGH_REPLICAS", kTopology, "fewer replicas in sync than min.insync.replicas",
     "bring brokers back, or lower min.insync.replicas"},
    {kKafka, "NOT_ENOUGH_REPLICAS_AFTER_APPEND", kTopology, "fewer replicas in sync than min.insync.replicas",
     "bring brokers back, or lower min.insync.replicas"},
    {kKafka, "INVALID_REPLICATION_FACTOR", kTopology, "more replicas than brokers",
     "set replication_factor, or create the topic"},
    {kKafka, "INVALID_PARTITIONS", kTopology, "a number of partitions that the cluster does not take",
     "set partitions, or create the topic"},
    {kKafka, "INVALID_CONFIG", kVersion, "the broker does not know a setting of the topic", "correct topic_config"},
    {kKafka, "UNSUPPORTED_VERSION", kVersion, "the broker is too old", "update the broker"},
    {kKafka, "UNSUPPORTED_FOR_MESSAGE_FORMAT", kVersion, "the topic's message format is too old",
     "set message.format.version of the topic"},
    {kKafka, "UNSUPPORTED_COMPRESSION_TYPE", kVersion, "the broker does not know the compression",
     "set compression to none"},
    {kKafka, "_UNSUPPORTED_FEATURE", kVersion, "the broker is too old", "update the broker"},
    {kKafka, "UNSUPPORTED_SASL_MECHANISM", kVersion, "the broker does not offer sasl.mechanism",
     "check the sasl options of the sink"},
    {kKafka, "INVALID_TIMESTAMP", kVersion, "the broker's clock and ours differ by more than the topic allows",
     "set the clocks"},
    {kKafka, "MSG_SIZE_TOO_LARGE", kEvent, "larger than max.message.bytes",
     "raise message_bytes_max and the topic's max.message.bytes"},
    {kKafka, "RECORD_LIST_TOO_LARGE", kEvent, "larger than a segment of the topic",
     "raise message_bytes_max and the topic's max.message.bytes"},
    {kKafka, "INVALID_RECORD", kEvent, "the broker takes no such record", ""},

    {kNats, "Permissions Violation", kRights, "the user may not publish to, or subscribe to, this subject",
     "give the user the subjects that docs/rights.md names"},
    {kNats, "Authorization Violation", kRights, "user, password, token or credentials do not fit",
     "check the sink's credentials"},
    {kNats, "User Authentication", kRights, "the credentials have expired or were revoked", "renew the credentials"},
    {kNats, "Account Authentication", kRights, "the account has expired or was revoked", "renew the account"},
    {kNats, "TLS", kRights, "TLS failed: a certificate, or a server that asks for TLS", "check tls and its files"},
    {kNats, "maximum connections exceeded", kLimit, "max_connections is reached", "raise max_connections"},
    {kNats, "maximum account active connections exceeded", kQuota, "the account's connections are used up",
     "raise the account's limit"},
    {kNats, "No responders", kTopology, "no stream takes the subject, or JetStream is off",
     "let the stream take the sink's subjects"},
    {kNats, "Maximum Payload Violation", kEvent, "larger than max_payload", "raise the server's max_payload"},
    {kNats, "10002", kQuota, "the account's JetStream limits are used up", "raise the account's limits"},
    {kNats, "10005", kTopology, "the cluster has no peers for the stream", "lower replicas, or add servers"},
    {kNats, "10008", kTopology, "JetStream of the cluster is not available", ""},
    {kNats, "10009", kTopology, "the stream has no leader, or it is elsewhere", ""},
    {kNats, "10023", kLimit, "the server's JetStream storage is used up",
     "raise the stream's limits or the server's storage"},
    {kNats, "10027", kQuota, "the account's number of streams is used up", "raise the account's limits"},
    {kNats, "10028", kLimit, "the server's memory for JetStream is used up",
     "raise the stream's limits or the server's storage"},
    {kNats, "10035", kRights, "the account does not exist", "check the sink's credentials"},
    {kNats, "10039", kRights, "JetStream is not enabled for the account", "enable JetStream for the account"},
    {kNats, "10047", kLimit, "the server's JetStream storage is used up",
     "raise the stream's limits or the server's storage"},
    {kNats, "10052", kVersion, "the server does not take the stream's configuration",
     "create the stream, or correct the sink's settings"},
    {kNats, "10054", kEvent, "larger than the stream's max_msg_size", "raise the stream's max_msg_size"},
    {kNats, "10058", kTopology, "another stream has the name with another configuration",
     "choose another stream, or leave create_stream out"},
    {kNats, "10059", kTopology, "the stream does not exist", "create it, or set create_stream"},
    {kNats, "10060", kTopology, "the subject belongs to another stream", "let the stream take the sink's subjects"},
    {kNats, "10065", kTopology, "another stream takes these subjects", "choose another prefix, or that stream"},
    {kNats, "10074", kTopology, "several replicas need a cluster", "lower replicas"},
    {kNats, "10076", kTopology, "JetStream is not enabled on this server", "enable JetStream"},
    {kNats, "10077", kLimit, "the stream is full, or its disk", "raise the stream's limits or the server's storage"},
    {kNats, "10097", kEvent, "headers larger than the server takes", ""},
    {kNats, "10109", kTopology, "the stream is sealed", "choose another stream"},
    {kNats, "10113", kQuota, "the account asks for a bound of the stream", "set stream_bytes_max"},
    {kNats, "10118", kTopology, "the stream is offline", ""},
    {kNats, "10122", kQuota, "the account allows smaller streams only", "lower stream_bytes_max"},

    {kUpstream, "UNAVAILABLE", kAway, "not there, or it stops", ""},
    {kUpstream, "DEADLINE_EXCEEDED", kAway, "no answer in time", ""},
    {kUpstream, "INTERNAL", kAway, "it fails itself, as Permify does while its database is away",
     "see the log of the upstream"},
    {kUpstream, "UNKNOWN", kAway, "it fails itself", "see the log of the upstream"},
    {kUpstream, "ABORTED", kAway, "it gave up", ""},
    {kUpstream, "UNAUTHENTICATED", kRights, "it does not know our key", "check upstream.key"},
    {kUpstream, "PERMISSION_DENIED", kRights, "our key does not give this right", "check upstream.key"},
    {kUpstream, "RESOURCE_EXHAUSTED", kQuota, "it limits the rate of calls, or the number of streams",
     "raise its limits, or lower connections_per_second"},
    {kUpstream, "UNIMPLEMENTED", kVersion, "it knows neither Feed nor Watch, or Watch is not enabled",
     "enable Watch (Permify: service.watch.enabled)"},
    {kUpstream, "INVALID_ARGUMENT", kVersion, "it does not understand the question",
     "update the upstream or the relay"},
    {kUpstream, "FAILED_PRECONDITION", kTopology, "it cannot do this as it is set up", "see the log of the upstream"},
};

bool is_exact(ServerKind server) { return server == kKafka || server == kUpstream; }

std::optional<RefusalKind> kind_named(std::string_view word) {
  for (const RefusalKind kind : kRefusalKinds) {
    if (refusal_word(kind) == word) return kind;
  }
  return std::nullopt;
}

}  // namespace

std::string_view refusal_word(RefusalKind kind) {
  switch (kind) {
    case kAway: return "away";
    case kRights: return "rights";
    case kLimit: return "limit";
    case kTopology: return "topology";
    case kQuota: return "quota";
    case kVersion: return "version";
    case kEvent: return "event";
  }
  return "away";
}

std::string_view server_word(ServerKind server) {
  switch (server) {
    case kPostgres: return "PostgreSQL";
    case kRedis: return "Redis";
    case kKafka: return "Kafka";
    case kNats: return "NATS";
    case kUpstream: return "Upstream";
  }
  return "";
}

std::span<const RefusalRow> refusal_rows() { return kRows; }

const RefusalRow* find_refusal(ServerKind server, std::string_view told) {
  const RefusalRow* found = nullptr;
  for (const RefusalRow& row : kRows) {
    if (row.server != server) continue;
    const bool fits = is_exact(server) ? told == row.code : told.substr(0, row.code.size()) == row.code;
    if (fits && (found == nullptr || row.code.size() > found->code.size())) found = &row;
  }
  return found;
}

Status with_refusal(Status status, RefusalKind kind) {
  const std::string_view word = refusal_word(kind);
  if (!status.ok()) status.SetPayload(kPayload, absl::Cord(absl::string_view(word.data(), word.size())));
  return status;
}

Status reworded(const Status& status, std::string_view text) {
  if (status.ok()) return status;
  return with_refusal(make_status(status.code(), text), refusal_kind(status));
}

RefusalKind refusal_kind(const Status& status) {
  if (const auto told = status.GetPayload(kPayload)) return kind_named(std::string(*told)).value_or(kAway);
  switch (status.code()) {
    case StatusCode::kPermissionDenied:
    case StatusCode::kUnauthenticated: return kRights;
    case StatusCode::kResourceExhausted: return kLimit;
    case StatusCode::kUnimplemented: return kVersion;
    case StatusCode::kInvalidArgument: return kEvent;
    default: return kAway;
  }
}

std::string described_refusal(const Status& status) {
  return fmt::format("{}: {}", refusal_word(refusal_kind(status)), describe(status));
}

StatusCode code_of(RefusalKind kind) {
  switch (kind) {
    case kRights: return StatusCode::kPermissionDenied;
    case kLimit:
    case kQuota: return StatusCode::kResourceExhausted;
    case kEvent: return StatusCode::kInvalidArgument;
    default: return StatusCode::kUnavailable;
  }
}

std::string refusals_as_markdown() {
  std::string text;
  std::optional<ServerKind> server;
  for (const RefusalRow& row : kRows) {
    if (server != row.server) {
      text += fmt::format("{}### {}\n\n| told | kind | what it means | what helps |\n| --- | --- | --- | --- |\n",
                          server ? "\n" : "", server_word(row.server));
      server = row.server;
    }
    text += fmt::format("| `{}` | {} | {} | {} |\n", row.code, refusal_word(row.kind), row.means,
                        row.help.empty() ? "waiting" : row.help);
  }
  return text;
}

}  // namespace headgate
