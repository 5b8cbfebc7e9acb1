#include "sinks/kafka/topics.h"

#include <array>

namespace headgate::sinks {
namespace {

constexpr int kSliceMs = 50;

std::optional<std::string> header_of(const rd_kafka_headers_t* headers, std::string_view name) {
  const std::string key = "ce_" + std::string(name);
  const void* value = nullptr;
  size_t size = 0;
  if (rd_kafka_header_get_last(headers, key.c_str(), &value, &size) != RD_KAFKA_RESP_ERR_NO_ERROR) return std::nullopt;
  return std::string(static_cast<const char*>(value), size);
}

class TailReader {
 public:
  TailReader(const KafkaSettings& settings, std::stop_token stop)
      : settings_(settings),
        stop_(std::move(stop)),
        deadline_(std::chrono::steady_clock::now() + settings.recover_timeout) {}

  Status open() {
    HG_ASSIGN_OR_RETURN(client_, make_tail_consumer(settings_));
    rd_kafka_poll_set_consumer(client_.get());
    return ok_status();
  }

  Status add_topic(const std::string& name) {
    rd_kafka_topic_t* topic = rd_kafka_topic_new(client_.get(), name.c_str(), nullptr);
    const std::unique_ptr<rd_kafka_topic_t, void (*)(rd_kafka_topic_t*)> owned(topic, &rd_kafka_topic_destroy);
    const rd_kafka_metadata_t* raw = nullptr;
    rd_kafka_resp_err_t error = RD_KAFKA_RESP_ERR_NO_ERROR;
    do {
      error = rd_kafka_metadata(client_.get(), 0, topic, &raw, 500);
      HG_RETURN_IF_ERROR(in_time());
    } while (error != RD_KAFKA_RESP_ERR_NO_ERROR);
    const KafkaOwned<const rd_kafka_metadata_t> metadata(raw);
    for (int i = 0; i < raw->topics[0].partition_cnt; ++i) {
      HG_RETURN_IF_ERROR(add_partition(name, raw->topics[0].partitions[i].id));
    }
    return ok_status();
  }

  Status read(const EventCallback& each) {
    if (list_->cnt == 0) return ok_status();
    HG_RETURN_IF_ERROR(status_of_kafka(rd_kafka_assign(client_.get(), list_.get()), "read topics back"));
    int open_partitions = list_->cnt;
    while (open_partitions > 0) {
      HG_RETURN_IF_ERROR(in_time());
      const KafkaOwned<rd_kafka_message_t> message(rd_kafka_consumer_poll(client_.get(), kSliceMs));
      if (message == nullptr) continue;
      if (message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
        --open_partitions;
      } else if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
        take(message.get(), each);
      }
    }
    return ok_status();
  }

 private:
  Status in_time() const {
    if (stop_.stop_requested()) return make_status(StatusCode::kCancelled, "stopped");
    if (std::chrono::steady_clock::now() < deadline_) return ok_status();
    return make_status(StatusCode::kDeadlineExceeded, "kafka: reading topics back took longer than recover_timeout");
  }

  Status add_partition(const std::string& topic, int32_t partition) {
    int64_t low = 0;
    int64_t high = 0;
    rd_kafka_resp_err_t error = RD_KAFKA_RESP_ERR_NO_ERROR;
    do {
      HG_RETURN_IF_ERROR(in_time());
      error = rd_kafka_query_watermark_offsets(client_.get(), topic.c_str(), partition, &low, &high, 500);
    } while (error != RD_KAFKA_RESP_ERR_NO_ERROR);
    if (high == low) return ok_status();
    const auto wanted = static_cast<int64_t>(settings_.recover_records);
    rd_kafka_topic_partition_list_add(list_.get(), topic.c_str(), partition)->offset = std::max(low, high - wanted);
    return ok_status();
  }

  static void take(rd_kafka_message_t* message, const EventCallback& each) {
    rd_kafka_headers_t* headers = nullptr;
    if (rd_kafka_message_headers(message, &headers) != RD_KAFKA_RESP_ERR_NO_ERROR) return;
    const AttributeLookup get = [&](std::string_view name) { return header_of(headers, name); };
    const auto found = read_back(get);
    if (found.ok()) each(*found, get);
  }

  const KafkaSettings& settings_;
  const std::stop_token stop_;
  const MonotonicTime deadline_;
  KafkaOwned<rd_kafka_topic_partition_list_t> list_{rd_kafka_topic_partition_list_new(16)};
  KafkaOwned<rd_kafka_t> client_;
};

}  // namespace

Status create_topic(rd_kafka_t* client, const std::string& topic, const KafkaSettings& settings, std::stop_token stop) {
  std::array<char, 512> error{};
  rd_kafka_NewTopic_t* raw = rd_kafka_NewTopic_new(topic.c_str(), settings.partitions, settings.replication_factor,
                                                   error.data(), error.size());
  if (raw == nullptr) return invalid_argument("kafka: topic '{}': {}", topic, error.data());
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
    return code == RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS ? ok_status() : status_of_kafka(code, tried);
  }
  return make_status(StatusCode::kCancelled, "stopped");
}

Status read_tails(const std::set<std::string>& topics, const KafkaSettings& settings, const EventCallback& each,
                  std::stop_token stop) {
  if (topics.empty()) return ok_status();
  TailReader reader(settings, std::move(stop));
  HG_RETURN_IF_ERROR(reader.open());
  for (const std::string& topic : topics) HG_RETURN_IF_ERROR(reader.add_topic(topic));
  return reader.read(each);
}

}  // namespace headgate::sinks
