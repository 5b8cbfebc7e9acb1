#include "sinks/kafka/client.h"

#include <array>
#include <vector>

#include "base/guard.h"
#include "base/log.h"
#include "base/refusals.h"

namespace headgate::sinks {
namespace {

constexpr int kTransactionGraceMs = 10'000;

// How soon a leader is followed that has moved because its broker is gone. The library asks when the connection ends,
// which is before the cluster has noticed, and then no more for five minutes. What it knows stays in use for that long
// all the same, or an outage would make it forget its topics.
constexpr const char* kMetadataRefreshMs = "2000";
constexpr const char* kMetadataAgeMs = "900000";

using Options = std::vector<std::pair<std::string, std::string>>;

// What the promise rests on, or what the sink sets from its own settings.
constexpr std::array<std::string_view, 21> kOwnOptions = {"acks",
                                                          "request.required.acks",
                                                          "enable.idempotence",
                                                          "enable.gapless.guarantee",
                                                          "partitioner",
                                                          "transactional.id",
                                                          "client.id",
                                                          "message.max.bytes",
                                                          "linger.ms",
                                                          "queue.buffering.max.ms",
                                                          "transaction.timeout.ms",
                                                          "message.timeout.ms",
                                                          "delivery.timeout.ms",
                                                          "max.in.flight",
                                                          "bootstrap.servers",
                                                          "metadata.broker.list",
                                                          "compression.codec",
                                                          "compression.type",
                                                          "isolation.level",
                                                          "enable.auto.commit",
                                                          "max.in.flight.requests.per.connection"};

bool is_about_rights(rd_kafka_resp_err_t error) {
  const RefusalRow* row = find_refusal(ServerKind::kKafka, rd_kafka_err2name(error));
  return row != nullptr && row->kind == RefusalKind::kRights;
}

// `client` names the sink by its client.id; there is none yet while a configuration is being made.
void log_line(const rd_kafka_t* client, int level, const char* facility, const char* text) {
  const char* name = client == nullptr ? "" : rd_kafka_name(client);
  // That the option exists as an experiment is known, and tested.
  const bool known = std::string_view(text).find("enable.gapless.guarantee is experimental") != std::string_view::npos;
  if (level <= 4 && !known) {
    log_warn("kafka_client", {{"client", name}, {"facility", facility}, {"text", text}});
  } else {
    log_debug("kafka_client", {{"client", name}, {"facility", facility}, {"text", text}});
  }
}

// What says why outlives what only says that.
void note_error(rd_kafka_t*, int error, const char* reason, void* opaque) {
  auto* owner = static_cast<KafkaOwner*>(opaque);
  const auto code = static_cast<rd_kafka_resp_err_t>(error);
  if (owner == nullptr || code == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN) return;
  if (is_about_rights(owner->last_error) && !is_about_rights(code)) return;
  owner->last_error = code;
  owner->last_text = reason;
}

StatusOr<KafkaOwned<rd_kafka_conf_t>> configure(const Options& own, const KafkaSettings& settings) {
  KafkaOwned<rd_kafka_conf_t> conf(rd_kafka_conf_new());
  rd_kafka_conf_set_log_cb(conf.get(), &log_line);
  std::array<char, 512> error{};
  const auto set = [&](const std::string& key, const std::string& value) {
    const auto result = rd_kafka_conf_set(conf.get(), key.c_str(), value.c_str(), error.data(), error.size());
    return result == RD_KAFKA_CONF_OK ? ok_status() : invalid_argument("kafka: {}", error.data());
  };
  HG_RETURN_IF_ERROR(set("bootstrap.servers", settings.brokers));
  HG_RETURN_IF_ERROR(set("client.id", settings.client_id));
  HG_RETURN_IF_ERROR(set("socket.nagle.disable", "true"));
  HG_RETURN_IF_ERROR(set("socket.connection.setup.timeout.ms",
                         std::to_string(std::max<int64_t>(1'000, settings.connect_timeout.count()))));
  HG_RETURN_IF_ERROR(set("reconnect.backoff.max.ms", "1000"));
  HG_RETURN_IF_ERROR(set("topic.metadata.refresh.interval.ms", kMetadataRefreshMs));
  HG_RETURN_IF_ERROR(set("metadata.max.age.ms", kMetadataAgeMs));
  for (const auto& [key, value] : own) HG_RETURN_IF_ERROR(set(key, value));
  for (const auto& [key, value] : settings.options) HG_RETURN_IF_ERROR(set(key, value));
  return conf;
}

StatusOr<KafkaOwned<rd_kafka_t>> make_client(rd_kafka_type_t type, KafkaOwned<rd_kafka_conf_t> conf) {
  std::array<char, 512> error{};
  rd_kafka_t* client = rd_kafka_new(type, conf.get(), error.data(), error.size());
  if (client == nullptr) return invalid_argument("kafka: {}", error.data());
  (void)conf.release();  // now the client's
  return KafkaOwned<rd_kafka_t>(client);
}

}  // namespace

Status check_kafka_settings(const KafkaSettings& settings) {
  if (settings.mode != kIdempotent && settings.mode != kTransactional) {
    return invalid_argument("kafka: unknown mode '{}'; use '{}' or '{}'", settings.mode, kIdempotent, kTransactional);
  }
  if (settings.brokers.empty()) return invalid_argument("kafka: brokers are missing");
  if (settings.message_bytes_max < 1'000) return invalid_argument("kafka: message_bytes_max must be at least 1000");
  for (const auto& [key, value] : settings.options) {
    if (std::find(kOwnOptions.begin(), kOwnOptions.end(), key) != kOwnOptions.end()) {
      return invalid_argument(
          "kafka: option '{}' cannot be set: the sink's promise rests on it, or a setting of the "
          "sink stands for it",
          key);
    }
  }
  return ok_status();
}

std::map<std::string, std::string> kafka_option_faults(const KafkaSettings& settings) {
  std::map<std::string, std::string> faults;
  const KafkaOwned<rd_kafka_conf_t> conf(rd_kafka_conf_new());
  std::array<char, 512> error{};
  for (const auto& [key, value] : settings.options) {
    if (std::find(kOwnOptions.begin(), kOwnOptions.end(), key) != kOwnOptions.end()) {
      faults[key] = "cannot be set, the sink's promise rests on it or it has a setting of its own";
    } else if (rd_kafka_conf_set(conf.get(), key.c_str(), value.c_str(), error.data(), error.size()) !=
               RD_KAFKA_CONF_OK) {
      std::string_view text = error.data();
      text = text.substr(0, text.find('\n'));
      faults[key] = fmt::format("is refused by librdkafka: {}", text);
    }
  }
  return faults;
}

StatusOr<KafkaOwned<rd_kafka_t>> make_producer(const KafkaSettings& settings, DeliveryCallback callback,
                                               KafkaOwner* owner) {
  const char* const idempotent = guarded(Guard::kKafkaIdempotence) ? "true" : "false";
  Options own = {
      {"acks", "all"},
      {"partitioner", "murmur2_random"},  // as Java's clients do
      {"compression.codec", settings.compression},
      {"linger.ms", std::to_string(settings.linger_ms)},
      {"message.max.bytes", std::to_string(settings.message_bytes_max)},
      {"queue.buffering.max.messages", "1000000"},
      {"queue.buffering.max.kbytes", std::to_string(std::max<size_t>(64 << 10, settings.inflight_bytes_max / 256))},
      {"batch.num.messages", "10000"},
  };
  if (settings.mode == kTransactional) {
    own.emplace_back("transactional.id", settings.transactional_id);
    // Of a producer that is gone; its successor ends the transaction earlier.
    own.emplace_back("transaction.timeout.ms", std::to_string(settings.write_timeout.count() + kTransactionGraceMs));
  } else {
    own.emplace_back("enable.idempotence", idempotent);
    // An event that failed for good ends the producer, so that none behind it can get in.
    own.emplace_back("enable.gapless.guarantee", idempotent);
    own.emplace_back("message.timeout.ms", "0");  // the sink takes events back itself
  }
  HG_ASSIGN_OR_RETURN(KafkaOwned<rd_kafka_conf_t> conf, configure(own, settings));
  rd_kafka_conf_set_dr_msg_cb(conf.get(), callback);
  rd_kafka_conf_set_error_cb(conf.get(), &note_error);
  rd_kafka_conf_set_opaque(conf.get(), owner);
  return make_client(RD_KAFKA_PRODUCER, std::move(conf));
}

StatusOr<KafkaOwned<rd_kafka_t>> make_tail_consumer(const KafkaSettings& settings) {
  const Options own = {
      {"group.id", "headgate-tail"},  // demanded by the library; nothing is joined or committed
      {"enable.auto.commit", "false"}, {"isolation.level", "read_committed"}, {"enable.partition.eof", "true"},
      {"fetch.wait.max.ms", "50"},     {"auto.offset.reset", "earliest"},
  };
  HG_ASSIGN_OR_RETURN(KafkaOwned<rd_kafka_conf_t> conf, configure(own, settings));
  return make_client(RD_KAFKA_CONSUMER, std::move(conf));
}

Status await_broker(rd_kafka_t* client, const KafkaOwner& owner, const KafkaSettings& settings, std::stop_token stop) {
  const std::string tried = fmt::format("reach a broker of '{}'", settings.brokers);
  const auto deadline = std::chrono::steady_clock::now() + settings.connect_timeout;
  while (!stop.stop_requested()) {
    const rd_kafka_metadata_t* raw = nullptr;
    const rd_kafka_resp_err_t error = rd_kafka_metadata(client, 0, nullptr, &raw, 200);
    const KafkaOwned<const rd_kafka_metadata_t> metadata(raw);
    if (error == RD_KAFKA_RESP_ERR_NO_ERROR) return ok_status();
    rd_kafka_poll(client, 0);
    const bool over = std::chrono::steady_clock::now() > deadline;
    if (is_about_rights(owner.last_error) || (over && owner.last_error != RD_KAFKA_RESP_ERR_NO_ERROR)) {
      return status_of_kafka(owner.last_error, owner.last_text, tried);
    }
    // However it is put, nobody answers.
    if (over) return status_of_kafka(RD_KAFKA_RESP_ERR__TRANSPORT, rd_kafka_err2str(error), tried);
  }
  return make_status(StatusCode::kCancelled, "stopped");
}

Status naming_right(Status status, const KafkaSettings& settings, std::string_view operation,
                    std::string_view resource) {
  if (status.code() != StatusCode::kPermissionDenied) return status;
  const auto user = settings.options.find("sasl.username");
  return reworded(
      status, fmt::format("{}: kafka-acls.sh --bootstrap-server {} --add --allow-principal User:{} --operation {} {}",
                          message_of(status), settings.brokers.substr(0, settings.brokers.find(',')),
                          user == settings.options.end() ? "NAME" : user->second, operation, resource));
}

Status status_of_kafka(rd_kafka_resp_err_t error, const std::string& tried) {
  return status_of_kafka(error, rd_kafka_err2str(error), tried);
}

Status status_of_kafka(rd_kafka_resp_err_t error, std::string_view text, const std::string& tried) {
  if (error == RD_KAFKA_RESP_ERR_NO_ERROR) return ok_status();
  const RefusalRow* row = find_refusal(ServerKind::kKafka, rd_kafka_err2name(error));
  const RefusalKind kind = row == nullptr ? RefusalKind::kAway : row->kind;
  StatusCode code = code_of(kind);
  // A producer that met a limit is closed like any other that failed, and opens again.
  if (code == StatusCode::kResourceExhausted) code = StatusCode::kUnavailable;
  if (error == RD_KAFKA_RESP_ERR__MSG_TIMED_OUT || error == RD_KAFKA_RESP_ERR__TIMED_OUT) {
    code = StatusCode::kDeadlineExceeded;
  }
  const std::string_view help = row == nullptr ? "" : row->help;
  return with_refusal(status_of(code, "kafka: cannot {}: {}{}{}", tried, text, help.empty() ? "" : "; ", help), kind);
}

}  // namespace headgate::sinks
