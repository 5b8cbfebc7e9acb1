// One producer of librdkafka, and the events of one batch on their way through it.
//
// Used by one thread; the library's threads do the I/O, and its callbacks run inside our polls. Waits look at the stop
// token every 50 ms and end at the deadline they are given.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "sinks/encoding/cloud_event.h"
#include "sinks/encoding/route.h"
#include "sinks/heartbeat.h"
#include "sinks/kafka/client.h"
#include "sinks/kafka/topic_settings.h"

namespace headgate::sinks {

class EventProducer : private KafkaOwner {
 public:
  struct Outcome {
    enum State { kUnsent, kWaiting, kStored, kFailed } state = kUnsent;
    rd_kafka_resp_err_t error = RD_KAFKA_RESP_ERR_NO_ERROR;
    size_t bytes = 0;
    const std::string* topic = nullptr;  // lives as long as the producer object
  };
  struct Routes {
    Route topic;
    Route key;
  };

  // `sink` is its name, for the log.
  EventProducer(std::string sink, Encoder encoder, Routes routes, const KafkaSettings& settings);
  ~EventProducer() { close(); }
  EventProducer(const EventProducer&) = delete;

  // Leaves a producer without a fatal error as it is.
  Status open(std::stop_token stop);
  // What is in the library's queues is given up. Takes 100 ms at most.
  void close();
  bool is_open() const { return client_ != nullptr; }
  rd_kafka_t* client() { return client_.get(); }
  // The smaller of our limit and the topic's, or, with a topic for each tenant, the broker's; as of the last open().
  size_t max_event_bytes() const { return max_event_bytes_; }
  // Makes the topic when it may, waits until it can be used, and warns of settings that lose records.
  Status open_topic(const std::string& name, const KafkaSettings& how, TopicUse use, std::stop_token stop);

  // A new batch of so many messages.
  void begin(size_t messages);
  // Message `index` need not be sent.
  void skip(size_t index) { outcomes_[index].state = Outcome::kStored; }
  Status produce(const Delivery& delivery, size_t index, MonotonicTime deadline, std::stop_token stop);
  // The attributes of the event alone, with an epoch, under the tenant's name.
  Status produce_cursor(const Delivery& delivery, const std::string& topic, uint64_t epoch, size_t index,
                        MonotonicTime deadline, std::stop_token stop);
  // Begins a new batch and hands a heartbeat over: to each partition of the topic, or by the tenants' keys.
  Status produce_heartbeat(const Heartbeat& heartbeat, MonotonicTime deadline, std::stop_token stop);
  // Until at most half of what may be in flight is. Returns at once when there is room.
  Status make_room(MonotonicTime deadline, std::stop_token stop);
  // Until nothing waits any more, or something has failed.
  Status await_all(MonotonicTime deadline, std::stop_token stop) { return await(0, 0, deadline, stop); }

  const std::vector<Outcome>& outcomes() const { return outcomes_; }
  size_t waiting() const { return waiting_; }
  bool failed() const { return failed_; }
  // Why the client can do nothing any more, as when it may not write to any topic; OK while it can. REQUIRES:
  // is_open().
  Status fatal() const;
  // Why the first message of the batch failed that did. REQUIRES: failed().
  Status failure(const std::string& tried) const;

 private:
  // Of the present client; without a handle when there was none since.
  struct Topic {
    KafkaOwned<rd_kafka_topic_t> handle;
    bool created = false;
    int partitions = 0;  // when it was opened
  };
  struct Record {
    std::string topic;
    std::string key;
    std::string_view value;
    uint64_t epoch = 0;  // 0: not told
    int32_t partition = RD_KAFKA_PARTITION_UA;
  };

  static void on_delivery(rd_kafka_t*, const rd_kafka_message_t* message, void* opaque);
  // Until at most `count` messages of `bytes` bytes await their acknowledgement (0 bytes: any), or one has failed.
  Status await(size_t count, size_t bytes, MonotonicTime deadline, std::stop_token stop);
  Status post(const Record& record, size_t index, MonotonicTime deadline, std::stop_token stop);
  void learn_limit(std::stop_token stop);
  Status prepare(const std::string& name, Topic& topic, std::stop_token stop);
  void take_back(Outcome& outcome);
  rd_kafka_resp_err_t hand_over(const Topic& topic, const Record& record, size_t index);

  const std::string sink_;
  const Encoder encoder_;
  const Routes routes_;
  const KafkaSettings& settings_;

  size_t max_event_bytes_ = 0;
  KafkaOwned<rd_kafka_t> client_;
  std::map<std::string, Topic> topics_;  // that events went to; after the client, whose they are

  // Of the batch that is under way.
  std::vector<Outcome> outcomes_;
  size_t waiting_ = 0;
  size_t waiting_bytes_ = 0;
  bool failed_ = false;
  bool warned_ = false;  // of the first topic since open()
  Encoded encoded_;
};

}  // namespace headgate::sinks
