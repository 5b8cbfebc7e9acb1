#include <array>

#include "sinks/kafka/topics.h"

namespace headgate::sinks {
namespace {

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
    const KafkaOwned<rd_kafka_topic_t> topic(rd_kafka_topic_new(client_.get(), name.c_str(), nullptr));
    const rd_kafka_metadata_t* raw = nullptr;
    rd_kafka_resp_err_t error = RD_KAFKA_RESP_ERR_NO_ERROR;
    do {
      error = rd_kafka_metadata(client_.get(), 0, topic.get(), &raw, 500);
      HG_RETURN_IF_ERROR(in_time(error));
    } while (error != RD_KAFKA_RESP_ERR_NO_ERROR);
    const KafkaOwned<const rd_kafka_metadata_t> metadata(raw);
    const rd_kafka_metadata_topic_t& told = raw->topics[0];
    if (told.err == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED) return refused(told.err, name);
    // Right after its start a broker may not know a topic that it has.
    if (told.partition_cnt > 0) untouched_.insert(name);
    for (int i = 0; i < told.partition_cnt; ++i) {
      rd_kafka_topic_partition_list_add(list_.get(), name.c_str(), told.partitions[i].id)->offset = begin();
      unread_.emplace(name, told.partitions[i].id);
    }
    return ok_status();
  }

  // The library finds the partitions' ends, and whoever leads them by then. Its own call for that
  // (rd_kafka_query_watermark_offsets) waits without a bound for a leader that is gone.
  StatusOr<std::set<std::string>> read(const EventCallback& each) {
    HG_RETURN_IF_ERROR(status_of_kafka(rd_kafka_assign(client_.get(), list_.get()), "read topics back"));
    while (!unread_.empty()) {
      HG_RETURN_IF_ERROR(in_time());
      const KafkaOwned<rd_kafka_message_t> message(rd_kafka_consumer_poll(client_.get(), kSliceMs));
      if (message == nullptr) continue;
      if (message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
        if (message->offset > 0) untouched_.erase(rd_kafka_topic_name(message->rkt));
        unread_.erase({rd_kafka_topic_name(message->rkt), message->partition});
      } else if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
        take(message.get(), each);
      } else if (message->err == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED) {
        return refused(message->err, rd_kafka_topic_name(message->rkt));
      } else {
        last_error_ = message->err;
      }
    }
    return untouched_;
  }

 private:
  Status in_time(rd_kafka_resp_err_t error = RD_KAFKA_RESP_ERR_NO_ERROR) {
    if (error != RD_KAFKA_RESP_ERR_NO_ERROR) last_error_ = error;
    if (stop_.stop_requested()) return make_status(StatusCode::kCancelled, "stopped");
    if (std::chrono::steady_clock::now() < deadline_) return ok_status();
    std::string where;
    if (!unread_.empty()) where = fmt::format(" (partition {} of {})", unread_.begin()->second, unread_.begin()->first);
    const bool told = last_error_ != RD_KAFKA_RESP_ERR_NO_ERROR;
    return status_of(StatusCode::kDeadlineExceeded, "kafka: reading topics back took longer than recover_timeout{}{}{}",
                     where, told ? ": " : "", told ? rd_kafka_err2str(last_error_) : "");
  }

  Status refused(rd_kafka_resp_err_t error, const std::string& topic) const {
    return naming_right(status_of_kafka(error, fmt::format("read the end of topic '{}' back", topic)), settings_,
                        "Read", fmt::format("--topic '{}'", topic));
  }

  // Of every partition; the library takes what lies in front of its first record for that one.
  int64_t begin() const {
    constexpr size_t kMost = size_t{1} << 40;
    if (settings_.recover_records >= kMost) return RD_KAFKA_OFFSET_BEGINNING;
    return RD_KAFKA_OFFSET_TAIL(static_cast<int64_t>(settings_.recover_records));
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
  std::set<std::string> untouched_;
  std::set<std::pair<std::string, int32_t>> unread_;  // whose end was not seen yet
  rd_kafka_resp_err_t last_error_ = RD_KAFKA_RESP_ERR_NO_ERROR;
};

}  // namespace

StatusOr<std::set<std::string>> read_tails(const std::set<std::string>& topics, const KafkaSettings& settings,
                                           const EventCallback& each, std::stop_token stop) {
  if (topics.empty()) return std::set<std::string>();
  TailReader reader(settings, std::move(stop));
  HG_RETURN_IF_ERROR(reader.open());
  for (const std::string& topic : topics) HG_RETURN_IF_ERROR(reader.add_topic(topic));
  return reader.read(each);
}

}  // namespace headgate::sinks
