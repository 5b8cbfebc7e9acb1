#include "sinks/kafka/topics.h"

#include <array>

#include "base/refusals.h"

namespace headgate::sinks {
namespace {

KafkaOwned<rd_kafka_topic_t> handle_of(rd_kafka_t* client, const std::string& topic) {
  return KafkaOwned<rd_kafka_topic_t>(rd_kafka_topic_new(client, topic.c_str(), nullptr));
}

TopicFacts facts_of(const rd_kafka_metadata_t& metadata) {
  const rd_kafka_metadata_topic_t& topic = metadata.topics[0];
  TopicFacts facts;
  facts.brokers = metadata.broker_cnt;
  facts.partitions = topic.partition_cnt;
  for (int i = 0; i < topic.partition_cnt; ++i) {
    const rd_kafka_metadata_partition_t& partition = topic.partitions[i];
    facts.replicas = i == 0 ? partition.replica_cnt : std::min(facts.replicas, partition.replica_cnt);
    facts.in_sync = i == 0 ? partition.isr_cnt : std::min(facts.in_sync, partition.isr_cnt);
  }
  return facts;
}

// Of the topic itself, or of a partition without a leader.
rd_kafka_resp_err_t error_of(const rd_kafka_metadata_topic_t& topic) {
  if (topic.err != RD_KAFKA_RESP_ERR_NO_ERROR) return topic.err;
  if (topic.partition_cnt == 0) return RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
  for (int i = 0; i < topic.partition_cnt; ++i) {
    if (topic.partitions[i].leader < 0) return RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE;
  }
  return RD_KAFKA_RESP_ERR_NO_ERROR;
}

}  // namespace

StatusOr<TopicFacts> await_topic(rd_kafka_t* client, const std::string& topic, const KafkaSettings& settings,
                                 std::stop_token stop) {
  const KafkaOwned<rd_kafka_topic_t> handle = handle_of(client, topic);
  const std::string tried = fmt::format("use topic '{}'", topic);
  if (handle == nullptr) return status_of_kafka(rd_kafka_last_error(), tried);
  const auto start = std::chrono::steady_clock::now();
  // A broker that creates topics by itself needs a moment; no more is waited for one that does not.
  const Duration patience = settings.create_topics ? settings.connect_timeout : settings.connect_timeout / 2;
  while (!stop.stop_requested()) {
    const rd_kafka_metadata_t* raw = nullptr;
    rd_kafka_resp_err_t error = rd_kafka_metadata(client, 0, handle.get(), &raw, 200);
    const KafkaOwned<const rd_kafka_metadata_t> metadata(raw);
    if (error == RD_KAFKA_RESP_ERR_NO_ERROR) {
      error = error_of(raw->topics[0]);
      if (error == RD_KAFKA_RESP_ERR_NO_ERROR) return facts_of(*raw);
      if (error == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED) {
        return naming_right(status_of_kafka(error, tried), settings, "Write", fmt::format("--topic '{}'", topic));
      }
    }
    if (std::chrono::steady_clock::now() > start + patience) return status_of_kafka(error, tried);
    rd_kafka_poll(client, kSliceMs);
  }
  return make_status(StatusCode::kCancelled, "stopped");
}

StatusOr<std::set<std::string>> topics_of(rd_kafka_t* client, const Route& route, const KafkaSettings& settings,
                                          std::stop_token stop) {
  if (!route.needs_tenant()) {
    HG_ASSIGN_OR_RETURN(std::string only, route.render_tenant(""));
    return std::set<std::string>{std::move(only)};
  }
  const auto deadline = std::chrono::steady_clock::now() + settings.connect_timeout;
  while (!stop.stop_requested()) {
    const rd_kafka_metadata_t* raw = nullptr;
    const rd_kafka_resp_err_t error = rd_kafka_metadata(client, 1, nullptr, &raw, 200);
    const KafkaOwned<const rd_kafka_metadata_t> metadata(raw);
    if (error == RD_KAFKA_RESP_ERR_NO_ERROR) {
      std::set<std::string> topics;
      for (int i = 0; i < raw->topic_cnt; ++i) {
        if (route.tenant_of(raw->topics[i].topic)) topics.insert(raw->topics[i].topic);
      }
      return topics;
    }
    if (std::chrono::steady_clock::now() > deadline) return status_of_kafka(error, "list the topics");
  }
  return make_status(StatusCode::kCancelled, "stopped");
}

Status create_topic(rd_kafka_t* client, const std::string& topic, const KafkaSettings& settings, std::stop_token stop) {
  std::array<char, 512> error{};
  rd_kafka_NewTopic_t* raw = rd_kafka_NewTopic_new(topic.c_str(), settings.partitions, settings.replication_factor,
                                                   error.data(), error.size());
  if (raw == nullptr) {
    return with_refusal(unavailable("kafka: topic '{}': {}", topic, error.data()), RefusalKind::kTopology);
  }
  const KafkaOwned<rd_kafka_NewTopic_t> wanted(raw);
  for (const auto& [key, value] : settings.topic_config) rd_kafka_NewTopic_set_config(raw, key.c_str(), value.c_str());
  const KafkaOwned<rd_kafka_queue_t> queue(rd_kafka_queue_new(client));
  const KafkaOwned<rd_kafka_AdminOptions_t> options(rd_kafka_AdminOptions_new(client, RD_KAFKA_ADMIN_OP_CREATETOPICS));
  const int timeout = static_cast<int>(settings.connect_timeout.count());
  rd_kafka_AdminOptions_set_request_timeout(options.get(), timeout, error.data(), error.size());
  rd_kafka_CreateTopics(client, &raw, 1, options.get(), queue.get());
  while (!stop.stop_requested()) {
    const KafkaOwned<rd_kafka_event_t> event(rd_kafka_queue_poll(queue.get(), kSliceMs));
    if (event == nullptr) continue;
    const std::string tried = fmt::format("create topic '{}'", topic);
    HG_RETURN_IF_ERROR(status_of_kafka(rd_kafka_event_error(event.get()), tried));
    size_t count = 0;
    const auto* results = rd_kafka_CreateTopics_result_topics(rd_kafka_event_CreateTopics_result(event.get()), &count);
    const rd_kafka_resp_err_t code = count == 0 ? RD_KAFKA_RESP_ERR__FAIL : rd_kafka_topic_result_error(results[0]);
    if (code == RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS) return ok_status();
    const char* told = count == 0 ? nullptr : rd_kafka_topic_result_error_string(results[0]);
    const Status status = status_of_kafka(code, told == nullptr ? rd_kafka_err2str(code) : told, tried);
    return naming_right(status, settings, "Create", fmt::format("--topic '{}'", topic));
  }
  return make_status(StatusCode::kCancelled, "stopped");
}

}  // namespace headgate::sinks
