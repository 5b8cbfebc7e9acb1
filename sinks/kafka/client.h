// Owners for librdkafka's objects and the configuration that the sink's promise rests on.
#pragma once

#include <librdkafka/rdkafka.h>

#include <map>
#include <memory>
#include <string>

#include "base/status.h"
#include "sinks/kafka/settings.h"

namespace headgate::sinks {

// The longest that a call of librdkafka is left alone before somebody looks at a stop token again.
inline constexpr int kSliceMs = 50;

struct KafkaDeleter {
  void operator()(rd_kafka_t* client) const { rd_kafka_destroy_flags(client, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE); }
  void operator()(rd_kafka_topic_t* topic) const { rd_kafka_topic_destroy(topic); }
  void operator()(rd_kafka_conf_t* conf) const { rd_kafka_conf_destroy(conf); }
  void operator()(rd_kafka_error_t* error) const { rd_kafka_error_destroy(error); }
  void operator()(rd_kafka_queue_t* queue) const { rd_kafka_queue_destroy(queue); }
  void operator()(rd_kafka_event_t* event) const { rd_kafka_event_destroy(event); }
  void operator()(rd_kafka_NewTopic_t* topic) const { rd_kafka_NewTopic_destroy(topic); }
  void operator()(rd_kafka_ConfigResource_t* resource) const { rd_kafka_ConfigResource_destroy(resource); }
  void operator()(rd_kafka_AdminOptions_t* options) const { rd_kafka_AdminOptions_destroy(options); }
  void operator()(rd_kafka_message_t* message) const { rd_kafka_message_destroy(message); }
  void operator()(rd_kafka_topic_partition_list_t* list) const { rd_kafka_topic_partition_list_destroy(list); }
  void operator()(const rd_kafka_metadata_t* metadata) const { rd_kafka_metadata_destroy(metadata); }
};
template <typename T>
using KafkaOwned = std::unique_ptr<T, KafkaDeleter>;

inline constexpr std::string_view kIdempotent = "idempotent";
inline constexpr std::string_view kTransactional = "transactional";

// Who uses a client. The client tells here what it hears beside its answers, as that nobody lets it in; in polls.
struct KafkaOwner {
  rd_kafka_resp_err_t last_error = RD_KAFKA_RESP_ERR_NO_ERROR;
  std::string last_text;
};

// Called for every message once its fate is known; the opaque is the KafkaOwner.
using DeliveryCallback = void (*)(rd_kafka_t* client, const rd_kafka_message_t* message, void* opaque);

// INVALID_ARGUMENT names the option that librdkafka does not take. Neither connects.
StatusOr<KafkaOwned<rd_kafka_t>> make_producer(const KafkaSettings& settings, DeliveryCallback callback,
                                               KafkaOwner* owner);
StatusOr<KafkaOwned<rd_kafka_t>> make_tail_consumer(const KafkaSettings& settings);

// INVALID_ARGUMENT for a mode that is not there, or an option that would break the sink's promise.
Status check_kafka_settings(const KafkaSettings& settings);

// What is wrong with `options`, by name: unknown, out of range, refused by the library or reserved for the sink.
std::map<std::string, std::string> kafka_option_faults(const KafkaSettings& settings);

// Waits until a broker answers. PERMISSION_DENIED when none lets us in, UNAVAILABLE after the connect time-out.
Status await_broker(rd_kafka_t* client, const KafkaOwner& owner, const KafkaSettings& settings, std::stop_token stop);

// Adds the command that grants what PERMISSION_DENIED is about, for example "Write" on "--topic 'x'".
Status naming_right(Status status, const KafkaSettings& settings, std::string_view operation,
                    std::string_view resource);

// By the table of base/refusals.h: INVALID_ARGUMENT for what can never be accepted, PERMISSION_DENIED for a right that
// is missing, DEADLINE_EXCEEDED for time-outs, else UNAVAILABLE.
Status status_of_kafka(rd_kafka_resp_err_t error, const std::string& tried);
// `text`: what is told instead of the library's words.
Status status_of_kafka(rd_kafka_resp_err_t error, std::string_view text, const std::string& tried);

}  // namespace headgate::sinks
