#include "sinks/kafka/kafka_sink.h"

#include <unordered_map>

#include "base/log.h"
#include "sinks/encoding/route.h"
#include "sinks/kafka/client.h"
#include "sinks/kafka/topics.h"

namespace headgate::sinks {
namespace {

constexpr int kSliceMs = 50;

// Identifies one delivery over retries.
std::string key_of(const std::string& id, uint64_t sequence) { return fmt::format("{}#{}", id, sequence); }

// The end of the unbroken run of one tenant's events in a tail. What lies behind a gap is not counted: the event that
// is missing there still has to come.
class Run {
 public:
  void take(const Cursor& next) {
    if (broken_) return;
    const bool follows = !last_ || next.sequence == last_->sequence + 1 || next.incarnation != last_->incarnation;
    if (follows) {
      last_ = next;
    } else if (next.sequence > last_->sequence) {
      broken_ = true;
    }
  }
  const std::optional<Cursor>& last() const { return last_; }

 private:
  std::optional<Cursor> last_;
  bool broken_ = false;
};

class KafkaSink : public Sink {
 public:
  KafkaSink(std::string name, Encoder encoder, Route topic, Route key, KafkaSettings settings)
      : info_{std::move(name), "kafka", Guarantee::kAtLeastOnce},
        encoder_(std::move(encoder)),
        topic_(std::move(topic)),
        key_(std::move(key)),
        settings_(std::move(settings)) {}
  ~KafkaSink() override { close(); }

  const SinkInfo& info() const override { return info_; }

  Status open(std::stop_token stop) override {
    if (producer_ != nullptr && rd_kafka_fatal_error(producer_.get(), nullptr, 0) == RD_KAFKA_RESP_ERR_NO_ERROR) {
      return ok_status();
    }
    close();
    HG_ASSIGN_OR_RETURN(producer_, make_producer(settings_, &KafkaSink::on_delivery, this));
    const Status status = await_broker(producer_.get(), settings_, stop);
    if (!status.ok()) close();
    return status;
  }

  void close() override {
    if (producer_ == nullptr) return;
    rd_kafka_purge(producer_.get(), RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
    for (int i = 0; i < 5 && rd_kafka_outq_len(producer_.get()) > 0; ++i) rd_kafka_poll(producer_.get(), 20);
    for (auto& [name, topic] : topics_) topic = {};
    producer_.reset();
  }

  StatusOr<std::map<std::string, Cursor>> recover(const std::map<std::string, Cursor>& stored,
                                                  std::stop_token stop) override {
    std::set<std::string> topics;
    if (!topic_.needs_entity_type()) {
      for (const auto& [tenant, cursor] : stored) {
        // A tenant whose name makes no topic has never had an event here.
        if (auto topic = topic_.render_tenant(tenant); topic.ok()) topics.insert(*std::move(topic));
      }
    }
    std::unordered_map<std::string, Run> runs;
    HG_RETURN_IF_ERROR(read_back_tails(std::move(topics), &runs, stop));
    std::map<std::string, Cursor> found;
    for (const auto& [tenant, run] : runs) {
      if (run.last()) found[tenant] = *run.last();
    }
    // The caller leaves these out by itself.
    std::erase_if(present_, [&](const auto& entry) {
      const auto it = found.find(entry.second.tenant);
      return it != found.end() && entry.second.cursor.sequence <= it->second.sequence;
    });
    return found;
  }

  WriteResult write(const Batch& batch, std::stop_token stop) override {
    if (producer_ == nullptr) return {0, unavailable("kafka: not connected")};
    if (!doubtful_.empty()) {
      if (const Status read = read_back_tails({}, nullptr, stop); !read.ok()) return {0, read};
    }
    outcomes_.assign(batch.deliveries.size(), Outcome{});
    waiting_ = waiting_bytes_ = 0;
    failed_ = false;
    const auto deadline = std::chrono::steady_clock::now() + settings_.write_timeout;
    Status status = produce_all(batch, deadline, stop);
    const Status acknowledged = await(0, 0, deadline, stop);
    if (status.ok()) status = acknowledged;
    if (waiting_ > 0 || failed_) give_up(batch);
    return result(batch, status);
  }

 private:
  struct Outcome {
    enum State { kUnsent, kWaiting, kStored, kFailed } state = kUnsent;
    rd_kafka_resp_err_t error = RD_KAFKA_RESP_ERR_NO_ERROR;
    size_t bytes = 0;
    const std::string* topic = nullptr;  // a key of topics_
  };
  // Of the present producer; without a handle when there was none since.
  struct Topic {
    KafkaOwned<rd_kafka_topic_t> handle;
    bool created = false;
  };

  // Runs inside our polls.
  static void on_delivery(rd_kafka_t*, const rd_kafka_message_t* message, void* opaque) {
    auto& sink = *static_cast<KafkaSink*>(opaque);
    const auto index = reinterpret_cast<uintptr_t>(message->_private);
    if (index >= sink.outcomes_.size() || sink.outcomes_[index].state != Outcome::kWaiting) return;
    Outcome& outcome = sink.outcomes_[index];
    outcome.error = message->err;
    outcome.state = message->err == RD_KAFKA_RESP_ERR_NO_ERROR ? Outcome::kStored : Outcome::kFailed;
    sink.failed_ = sink.failed_ || outcome.state == Outcome::kFailed;
    sink.waiting_ -= 1;
    sink.waiting_bytes_ -= outcome.bytes;
  }

  // Until at most `count` events of `bytes` bytes await their acknowledgement (0 bytes: any), or one has failed.
  Status await(size_t count, size_t bytes, MonotonicTime deadline, std::stop_token stop) {
    rd_kafka_poll(producer_.get(), 0);
    while (!failed_ && waiting_ > count && (bytes == 0 || waiting_bytes_ > bytes)) {
      if (stop.stop_requested()) return make_status(StatusCode::kCancelled, "stopped");
      if (std::chrono::steady_clock::now() > deadline) {
        return status_of(StatusCode::kDeadlineExceeded, "kafka: {} events are not acknowledged within write_timeout",
                         waiting_);
      }
      if (count == 0 && bytes == 0) {
        // Nothing more is to come, so what still lingers for company goes out.
        rd_kafka_flush(producer_.get(), kSliceMs);
      } else {
        rd_kafka_poll(producer_.get(), kSliceMs);
      }
    }
    return ok_status();
  }

  Status produce_all(const Batch& batch, MonotonicTime deadline, std::stop_token stop) {
    for (size_t i = 0; i < batch.deliveries.size() && !failed_; ++i) {
      if (is_present(batch.deliveries[i])) {
        outcomes_[i].state = Outcome::kStored;
        continue;
      }
      HG_RETURN_IF_ERROR(produce(batch.deliveries[i], i, deadline, stop));
      if (careful_) {
        HG_RETURN_IF_ERROR(await(0, 0, deadline, stop));
      } else if (waiting_bytes_ > settings_.inflight_bytes_max) {
        HG_RETURN_IF_ERROR(await(0, settings_.inflight_bytes_max / 2, deadline, stop));
      } else if (i % 256 == 0) {
        rd_kafka_poll(producer_.get(), 0);
      }
    }
    return ok_status();
  }

  // Takes the note away: it is of use once.
  bool is_present(const Delivery& delivery) {
    return !present_.empty() && present_.erase(key_of(event_id(delivery), delivery.sequence)) > 0;
  }

  Status produce(const Delivery& delivery, size_t index, MonotonicTime deadline, std::stop_token stop) {
    HG_ASSIGN_OR_RETURN(const std::string name, topic_.render(*delivery.event));
    HG_ASSIGN_OR_RETURN(const std::string key, key_.render(*delivery.event));
    HG_RETURN_IF_ERROR(encoder_.encode(delivery, encoded_));
    Outcome& outcome = outcomes_[index];
    outcome.bytes = encoded_.bytes() + key.size();
    if (outcome.bytes > settings_.message_bytes_max) {
      return invalid_argument(
          "kafka: event {} has {} bytes; message_bytes_max is {} (see also the topic's max.message.bytes)",
          encoded_.id(), outcome.bytes, settings_.message_bytes_max);
    }
    const auto entry = topics_.try_emplace(name).first;
    HG_RETURN_IF_ERROR(prepare(entry->first, entry->second, stop));
    outcome.topic = &entry->first;
    outcome.state = Outcome::kWaiting;
    ++waiting_;
    waiting_bytes_ += outcome.bytes;
    rd_kafka_resp_err_t error = hand_over(entry->second, key, index);
    while (error == RD_KAFKA_RESP_ERR__QUEUE_FULL && !failed_) {
      if (const Status room = await(waiting_ / 2, 0, deadline, stop); !room.ok()) {
        take_back(outcome);
        return room;
      }
      error = hand_over(entry->second, key, index);
    }
    if (error == RD_KAFKA_RESP_ERR_NO_ERROR) return ok_status();
    take_back(outcome);
    if (error == RD_KAFKA_RESP_ERR__FATAL) failed_ = true;
    return status_of_kafka(error, fmt::format("publish event {}", encoded_.id()));
  }

  // Looking a topic up by its name, for every event, is what the handle saves.
  Status prepare(const std::string& name, Topic& topic, std::stop_token stop) {
    if (settings_.create_topics && !topic.created) {
      HG_RETURN_IF_ERROR(create_topic(producer_.get(), name, settings_, stop));
      topic.created = true;
    }
    if (topic.handle == nullptr) topic.handle.reset(rd_kafka_topic_new(producer_.get(), name.c_str(), nullptr));
    if (topic.handle != nullptr) return ok_status();
    return status_of_kafka(rd_kafka_last_error(), fmt::format("use topic '{}'", name));
  }

  void take_back(Outcome& outcome) {
    outcome.state = Outcome::kUnsent;
    --waiting_;
    waiting_bytes_ -= outcome.bytes;
  }

  rd_kafka_resp_err_t hand_over(const Topic& topic, const std::string& key, size_t index) {
    rd_kafka_headers_t* headers = rd_kafka_headers_new(16);
    std::string name = "ce_";
    for (const Attribute& attribute : encoded_) {
      name.resize(3);
      name += attribute.name;
      add_header(headers, name, attribute.value);
    }
    add_header(headers, "content-type", encoded_.content_type());
    const std::string_view data = encoded_.data();
    const rd_kafka_resp_err_t error = rd_kafka_producev(
        producer_.get(), RD_KAFKA_V_RKT(topic.handle.get()), RD_KAFKA_V_KEY(key.data(), key.size()),
        RD_KAFKA_V_VALUE(const_cast<char*>(data.data()), data.size()), RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
        RD_KAFKA_V_HEADERS(headers), RD_KAFKA_V_OPAQUE(reinterpret_cast<void*>(index)), RD_KAFKA_V_END);
    if (error != RD_KAFKA_RESP_ERR_NO_ERROR) rd_kafka_headers_destroy(headers);
    return error;
  }

  static void add_header(rd_kafka_headers_t* headers, std::string_view name, std::string_view value) {
    rd_kafka_header_add(headers, name.data(), static_cast<ssize_t>(name.size()), value.data(),
                        static_cast<ssize_t>(value.size()));
  }

  // The producer goes, so that nothing in its queues can be stored later; what it had sent is in doubt until the topics
  // were read back.
  void give_up(const Batch& batch) {
    close();
    for (size_t i = 0; i < outcomes_.size(); ++i) {
      const Outcome& outcome = outcomes_[i];
      if (outcome.state != Outcome::kWaiting && outcome.state != Outcome::kFailed) continue;
      doubtful_[key_of(event_id(batch.deliveries[i]), batch.deliveries[i].sequence)] = *outcome.topic;
    }
  }

  WriteResult result(const Batch& batch, Status status) {
    size_t written = 0;
    while (written < outcomes_.size() && outcomes_[written].state == Outcome::kStored) ++written;
    if (written == outcomes_.size()) {
      careful_ = false;
      return {written, ok_status()};
    }
    const Outcome& first = outcomes_[written];
    const bool purged =
        first.error == RD_KAFKA_RESP_ERR__PURGE_QUEUE || first.error == RD_KAFKA_RESP_ERR__PURGE_INFLIGHT;
    if (first.state != Outcome::kFailed || purged) {
      // Nothing was said about this one itself; another one's failure ended the batch.
      if (status.ok()) status = unavailable("kafka: an event of the same batch failed; the rest is sent again");
      if (first.state != Outcome::kUnsent && status.code() == StatusCode::kInvalidArgument) {
        status = unavailable("kafka: {}", message_of(status));
      }
      return {written, status};
    }
    status = status_of_kafka(first.error, fmt::format("publish event {}", event_id(batch.deliveries[written])));
    if (status.code() == StatusCode::kInvalidArgument && !careful_) {
      // The broker refuses whole requests; sent one by one it becomes clear which event is meant.
      careful_ = true;
      status = unavailable("kafka: a batch was refused, its events are sent one by one: {}", message_of(status));
    }
    return {written, status};
  }

  // Clears the doubts, and tells each tenant's run when asked.
  Status read_back_tails(std::set<std::string> topics, std::unordered_map<std::string, Run>* runs,
                         std::stop_token stop) {
    for (const auto& [key, topic] : doubtful_) topics.insert(topic);
    std::map<std::string, Found> present;
    const auto take = [&](const Found& event, const std::string& id) {
      if (runs != nullptr) (*runs)[event.tenant].take(event.cursor);
      if (std::string key = key_of(id, event.cursor.sequence); doubtful_.count(key) > 0) {
        present.emplace(std::move(key), event);
      }
    };
    HG_RETURN_IF_ERROR(read_tails(topics, settings_, take, stop));
    if (!doubtful_.empty()) {
      log_info("kafka_tail_read", {{"sink", info_.name}, {"in_doubt", doubtful_.size()}, {"stored", present.size()}});
    }
    present_.merge(present);
    doubtful_.clear();
    return ok_status();
  }

  const SinkInfo info_;
  const Encoder encoder_;
  const Route topic_;
  const Route key_;
  const KafkaSettings settings_;

  KafkaOwned<rd_kafka_t> producer_;
  std::map<std::string, Topic> topics_;                    // that events went to; after the producer, whose they are
  std::unordered_map<std::string, std::string> doubtful_;  // deliveries whose fate is unknown -> topic
  std::map<std::string, Found> present_;                   // of those, the ones that were found stored
  bool careful_ = false;                                   // one event at a time

  // Of the write() that is running.
  std::vector<Outcome> outcomes_;
  size_t waiting_ = 0;
  size_t waiting_bytes_ = 0;
  bool failed_ = false;
  Encoded encoded_;
};

}  // namespace

StatusOr<std::unique_ptr<Sink>> make_kafka_sink(std::string name, const EncodingSettings& encoding,
                                                const KafkaSettings& settings) {
  HG_RETURN_IF_ERROR(check_kafka_settings(settings));
  HG_ASSIGN_OR_RETURN(Encoder encoder, Encoder::make(encoding));
  HG_ASSIGN_OR_RETURN(Route topic, Route::parse(NameTarget::kKafka, settings.topic, settings.prefix));
  HG_ASSIGN_OR_RETURN(Route key, Route::parse(NameTarget::kRaw, settings.key, settings.prefix));
  // Finds out about unknown options now, not at the first connect.
  HG_RETURN_IF_ERROR(make_producer(settings, nullptr, nullptr).status());
  return std::make_unique<KafkaSink>(std::move(name), std::move(encoder), std::move(topic), std::move(key), settings);
}

}  // namespace headgate::sinks
