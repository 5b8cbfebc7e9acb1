#include "relay/config/sinks.h"

#include "relay/config/redis.h"

namespace headgate::relay {

namespace {

using namespace std::chrono_literals;
namespace in = headgate::sinks;

void describe(Settings&, in::StdoutSettings&) {}

void describe(Settings& s, in::FileSettings& c) {
  s.text("path", c.path, "file that events are appended to, one JSON object a line");
  s.bytes("rotate_bytes", c.rotate_bytes, "start a new file when this one is larger; 0 never does");
  s.integer("rotate_keep", c.rotate_keep, "how many old files are kept", 0, 10'000);
  s.flag("sync", c.sync, "fsync before an event counts as delivered");
  s.require(!c.path.empty(), "path", "must be set");
}

void describe(Settings& s, in::KafkaSettings& c) {
  s.text("brokers", c.brokers, "host:port of some brokers, with commas between them");
  s.text("prefix", c.prefix, "stands for {prefix} in templates");
  s.text("topic", c.topic, "template of the topic");
  s.text("key", c.key, "template of the key; it decides the partition, and so the order");
  s.choice("mode", c.mode, Settings::Words{"idempotent", "transactional"},
           "idempotent: at least once; transactional: exactly once for readers of committed messages");
  s.text("transactional_id", c.transactional_id, "of mode transactional; empty takes <prefix>.<name of the sink>");
  s.text("cursor_topic", c.cursor_topic, "of mode transactional; empty takes <prefix>.<name of the sink>.cursors");
  s.text("client_id", c.client_id, "of the client at the broker; empty takes headgate-relay.<name of the sink>");
  s.choice("compression", c.compression, Settings::Words{"none", "gzip", "snappy", "lz4", "zstd"},
           "of message batches; every client reads none and gzip, others need libraries of their own");
  s.integer("linger_ms", c.linger_ms, "how long the library waits for more messages of a batch", 0, 10'000);
  s.bytes("inflight_bytes_max", c.inflight_bytes_max, "handed to the library and not yet acknowledged", 1 << 16);
  s.bytes("message_bytes_max", c.message_bytes_max, "largest event", 1024);
  s.duration("write_timeout", c.write_timeout, "time for one batch to be acknowledged", 100ms);
  s.duration("connect_timeout", c.connect_timeout, "time to reach a broker", 100ms);
  s.flag("create_topics", c.create_topics, "create topics that are missing");
  s.integer("partitions", c.partitions, "of topics that are created", 1, 100'000);
  s.integer("replication_factor", c.replication_factor, "of topics that are created", 1, 100);
  s.map("topic_config", c.topic_config, "further settings of topics that are created");
  s.duration("retention_min", c.retention_min, "a topic that keeps events for less is warned about; 0 never warns");
  s.integer("recover_records", c.recover_records, "records read back from the end of each partition at start",
            size_t{0}, size_t{10'000'000});
  s.duration("recover_timeout", c.recover_timeout, "time for that", 100ms);
  s.map("options", c.options, "passed to librdkafka as they are");
}

void describe(Settings& s, in::RedisStreamsSettings& c) {
  describe_redis(s, c.connection, {"user", "command_timeout"});
  s.text("prefix", c.prefix, "stands for {prefix} in templates");
  s.text("stream", c.stream, "template of the stream's key: {tenant}, or {shard} for streams that tenants share");
  s.text("position", c.position, "template of the key that holds a tenant's position; empty: beside the stream");
  s.integer("shards", c.shards, "of a stream with {shard}: how many there are, for good", 1u, 1'024u);
  s.text("index", c.index, "key of the set of streams; empty keeps none");
  s.integer("max_length", c.max_length, "entries kept in each stream, about; 0 keeps all", uint64_t{0});
  s.integer("entries_per_script", c.entries_per_script, "entries added by one script call", uint64_t{1}, uint64_t{256});
  s.integer("entries_per_transaction", c.entries_per_transaction,
            "entries of a backlog added by one transaction; 0: all go by the script", uint64_t{0}, uint64_t{4'096});
  s.bytes("event_bytes_max", c.event_bytes_max, "largest event", 1024);
}

void describe(Settings& s, in::RedisPubsubSettings& c) {
  describe_redis(s, c.connection, {"user", "command_timeout"});
  s.text("prefix", c.prefix, "stands for {prefix} in templates");
  s.text("channel", c.channel, "template of the channel");
  s.text("heartbeat_channel", c.heartbeat_channel, "template; :sink or :tenant:<name> is added");
  s.bytes("event_bytes_max", c.event_bytes_max, "largest event", 1024);
}

void describe(Settings& s, in::NatsConnectionSettings& c) {
  s.text("url", c.url, "nats://host:port, with commas between several");
  s.text("user", c.user, "name, with password");
  s.secret("password", c.password, "of the user");
  s.secret("token", c.token, "instead of user and password");
  s.text("credentials_file", c.credentials_file, "path of a file with JWT and seed");
  s.flag("tls", c.tls, "encrypt the connection");
  s.text("tls_ca_file", c.tls_ca_file, "path of the authorities; empty takes the system's");
  s.text("tls_cert_file", c.tls_cert_file, "path of the client's certificate");
  s.text("tls_key_file", c.tls_key_file, "path of its key");
  s.duration("connect_timeout", c.connect_timeout, "time for each server", 10ms);
  s.duration("write_timeout", c.write_timeout, "a server that takes nothing for so long is taken for dead", 10ms);
}

void describe(Settings& s, in::JetStreamSettings& c) {
  describe(s, c.connection);
  s.text("stream", c.stream, "name of the stream");
  s.text("prefix", c.prefix, "stands for {prefix} in templates");
  s.text("subject", c.subject, "template of the subject, one for each tenant");
  s.text("heartbeat_subject", c.heartbeat_subject, "template; .sink or .tenant.<name> is added");
  s.flag("create_stream", c.create_stream, "create the stream when it is missing");
  s.integer("replicas", c.replicas, "of a stream that is created", 1, 5);
  s.integer("stream_bytes_max", c.stream_bytes_max, "of a stream that is created; 0 is no limit", int64_t{0});
  s.duration("max_age", c.max_age, "of events in a stream that is created; 0 is for ever");
  s.integer("pending_max", c.pending_max, "events sent and not yet acknowledged", size_t{1}, size_t{1'000'000});
  s.duration("ack_timeout", c.ack_timeout, "time for an acknowledgement", 10ms);
  s.bytes("event_bytes_max", c.event_bytes_max, "largest event; 0 takes what the server allows");
}

void describe(Settings& s, in::NatsCoreSettings& c) {
  describe(s, c.connection);
  s.text("prefix", c.prefix, "stands for {prefix} in templates");
  s.text("subject", c.subject, "template of the subject");
  s.text("heartbeat_subject", c.heartbeat_subject, "template; .sink or .tenant.<name> is added");
  s.flag("structured", c.structured, "JSON in the body instead of headers");
  s.duration("flush_timeout", c.flush_timeout, "time for the server to take what was sent", 10ms);
}

}  // namespace

void describe_kind(Settings& s, sinks::KindSettings& settings) {
  std::visit([&](auto& kind) { describe(s, kind); }, settings);
}

}  // namespace headgate::relay
