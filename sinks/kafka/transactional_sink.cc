// Events and the cursors of their tenants go in one transaction: readers of committed messages see both or none, so
// what the cursor topic says is exactly what the events' topic holds.
//
// A producer with the same transactional.id takes the place of the one before: the broker ends that one's transaction
// and refuses whatever it sends later. Which of two is the rightful owner is told by the epoch in the cursors, since
// anybody can open a producer. After any failure the producer goes, the next one ends the transaction in doubt, and
// the cursor topic is read again: nothing is guessed.
#include <unordered_map>

#include "base/log.h"
#include "base/refusals.h"
#include "sinks/kafka/modes.h"
#include "sinks/kafka/topics.h"

namespace headgate::sinks {
namespace {

constexpr int kTransactionSliceMs = 100;

bool is_fenced(rd_kafka_resp_err_t error) {
  return error == RD_KAFKA_RESP_ERR__FENCED || error == RD_KAFKA_RESP_ERR_PRODUCER_FENCED ||
         error == RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH;
}

// Given up with the rest of the transaction: not what was wrong.
bool is_purged(rd_kafka_resp_err_t error) {
  return error == RD_KAFKA_RESP_ERR__PURGE_QUEUE || error == RD_KAFKA_RESP_ERR__PURGE_INFLIGHT;
}

// One small partition that keeps the last cursor of each tenant.
KafkaSettings of_cursor_topic(const KafkaSettings& settings) {
  KafkaSettings cursors = settings;
  cursors.partitions = 1;
  cursors.topic_config = {
      {"cleanup.policy", "compact"}, {"segment.bytes", "16777216"}, {"min.cleanable.dirty.ratio", "0.1"}};
  // A cursor must outlive what its event outlives.
  if (const auto in_sync = settings.topic_config.find("min.insync.replicas"); in_sync != settings.topic_config.end()) {
    cursors.topic_config.insert(*in_sync);
  }
  cursors.recover_records = SIZE_MAX / 2;
  return cursors;
}

class TransactionalSink : public Sink {
 public:
  TransactionalSink(std::string name, Encoder encoder, EventProducer::Routes routes, KafkaSettings settings)
      : info_{name, "kafka", Guarantee::kExactlyOnce},
        settings_(std::move(settings)),
        producer_(std::move(name), std::move(encoder), std::move(routes), settings_) {}

  const SinkInfo& info() const override { return info_; }
  size_t max_event_bytes() const override { return producer_.max_event_bytes(); }

  void close() override {
    producer_.close();
    ready_ = false;
    loaded_ = false;
    held_.clear();
  }

  Status open(std::stop_token stop) override {
    if (ready_) return ok_status();
    Status status = producer_.open(stop);
    if (status.ok()) status = begin_session(stop);
    if (!status.ok()) close();
    ready_ = status.ok();
    return status;
  }

  // Tenants that the cursor topic does not name had no event since the sink is transactional: of them it cannot tell.
  StatusOr<std::map<std::string, Cursor>> recover(const std::map<std::string, Cursor>&, std::stop_token stop) override {
    if (!ready_) return unavailable("kafka: not connected");
    HG_RETURN_IF_ERROR(load(stop));
    return std::map<std::string, Cursor>(held_.begin(), held_.end());
  }

  WriteResult write(const Batch& batch, std::stop_token stop) override {
    if (!ready_) return {0, unavailable("kafka: not connected")};
    if (!loaded_) {
      if (const Status status = load(stop); !status.ok()) return {0, status};
    }
    if (batch.fence.epoch < epoch_) return {0, fenced(batch.fence)};
    const auto deadline = std::chrono::steady_clock::now() + settings_.write_timeout;
    const Plan plan = plan_of(batch);
    if (plan.indexes.empty()) return {plan.end, ok_status()};
    Sent sent;
    const Status status = transact(batch, plan, sent, deadline, stop);
    if (!status.ok()) return give_up(batch, plan, status, stop);
    for (const auto& [tenant, index] : sent.last) held_[std::string(tenant)] = cursor_of(batch.deliveries[index]);
    epoch_ = batch.fence.epoch;
    if (careful_ > 0) --careful_;
    return {sent.end, sent.refused};
  }

  Status heartbeat(const Heartbeat& heartbeat, std::stop_token stop) override {
    if (!ready_) return unavailable("kafka: not connected");
    const auto deadline = std::chrono::steady_clock::now() + settings_.write_timeout;
    Status status =
        repeat("begin a transaction", deadline, stop, [&] { return rd_kafka_begin_transaction(producer_.client()); });
    if (status.ok()) status = producer_.produce_heartbeat(heartbeat, deadline, stop);
    if (status.ok()) status = producer_.await_all(deadline, stop);
    if (status.ok() && producer_.failed()) status = of_server(producer_.failure("publish a heartbeat"));
    if (status.ok()) {
      status = repeat("commit a transaction", deadline, stop,
                      [&] { return rd_kafka_commit_transaction(producer_.client(), kTransactionSliceMs); });
    }
    if (!status.ok()) close();
    return status;
  }

 private:
  // What of a batch goes into one transaction: the deliveries before `end` that are not held yet.
  struct Plan {
    std::vector<size_t> indexes;
    size_t end = 0;
  };
  struct Sent {
    size_t end = 0;  // behind the last delivery of the transaction
    std::unordered_map<std::string_view, size_t> last;
    Status refused;  // of the delivery at `end`, which can never be sent
  };

  Status begin_session(std::stop_token stop) {
    const auto deadline = std::chrono::steady_clock::now() + settings_.write_timeout;
    HG_RETURN_IF_ERROR(
        naming_right(repeat("begin to use transactions", deadline, stop,
                            [&] { return rd_kafka_init_transactions(producer_.client(), kTransactionSliceMs); }),
                     settings_, "Write", fmt::format("--transactional-id '{}'", settings_.transactional_id)));
    return producer_.open_topic(settings_.cursor_topic, of_cursor_topic(settings_), TopicUse::kCursors, stop);
  }

  // A transaction as a whole names no event.
  static Status of_server(Status status) {
    if (status.code() != StatusCode::kInvalidArgument) return status;
    return with_refusal(unavailable("{}", message_of(status)), RefusalKind::kAway);
  }

  // The library goes on where a call that took too long left off.
  template <typename Call>
  static Status repeat(const char* tried, MonotonicTime deadline, const std::stop_token& stop, Call call) {
    for (;;) {
      const KafkaOwned<rd_kafka_error_t> error(call());
      if (error == nullptr) return ok_status();
      const Status status =
          of_server(status_of_kafka(rd_kafka_error_code(error.get()), rd_kafka_error_string(error.get()), tried));
      if (!rd_kafka_error_is_retriable(error.get())) return status;
      if (stop.stop_requested()) return make_status(StatusCode::kCancelled, "stopped");
      if (std::chrono::steady_clock::now() > deadline) {
        return reworded(status, fmt::format("{} (within write_timeout)", message_of(status)));
      }
    }
  }

  // Reads the cursor topic.
  Status load(std::stop_token stop) {
    held_.clear();
    const auto take = [&](const Found& event, const AttributeLookup& get) {
      held_[event.tenant] = event.cursor;
      epoch_ = std::max<uint64_t>(epoch_, std::strtoull(get("epoch").value_or("0").c_str(), nullptr, 10));
    };
    HG_RETURN_IF_ERROR(
        read_tails({settings_.cursor_topic}, of_cursor_topic(settings_), take, std::move(stop)).status());
    loaded_ = true;
    return ok_status();
  }

  Plan plan_of(const Batch& batch) const {
    Plan plan;
    for (; plan.end < batch.deliveries.size(); ++plan.end) {
      const Delivery& delivery = batch.deliveries[plan.end];
      const auto held = held_.find(delivery.event->tenant);
      if (held != held_.end() && already_held(held->second, delivery)) continue;
      if (careful_ > 0 && !plan.indexes.empty()) break;
      plan.indexes.push_back(plan.end);
    }
    return plan;
  }

  Status transact(const Batch& batch, const Plan& plan, Sent& sent, MonotonicTime deadline, std::stop_token stop) {
    producer_.begin(2 * plan.indexes.size());
    HG_RETURN_IF_ERROR(
        repeat("begin a transaction", deadline, stop, [&] { return rd_kafka_begin_transaction(producer_.client()); }));
    sent.end = plan.end;
    for (size_t i = 0; i < plan.indexes.size() && !producer_.failed(); ++i) {
      const Delivery& delivery = batch.deliveries[plan.indexes[i]];
      const Status status = producer_.produce(delivery, i, deadline, stop);
      if (status.code() == StatusCode::kInvalidArgument && !producer_.failed()) {
        sent.refused = status;
        sent.end = plan.indexes[i];
        break;
      }
      HG_RETURN_IF_ERROR(status);
      HG_RETURN_IF_ERROR(producer_.make_room(deadline, stop));
      sent.last[delivery.event->tenant] = plan.indexes[i];
    }
    size_t number = plan.indexes.size();
    for (const auto& [tenant, index] : sent.last) {
      HG_RETURN_IF_ERROR(producer_.produce_cursor(batch.deliveries[index], settings_.cursor_topic, batch.fence.epoch,
                                                  number++, deadline, stop));
    }
    HG_RETURN_IF_ERROR(producer_.await_all(deadline, stop));
    if (producer_.failed()) return why_refused();
    return repeat("commit a transaction", deadline, stop,
                  [&] { return rd_kafka_commit_transaction(producer_.client(), kTransactionSliceMs); });
  }

  // When no message tells, it is the transaction that failed, as for a topic that may not be added to it. Another one
  // cannot be begun then, and the refusal of that says why.
  Status why_refused() {
    const KafkaOwned<rd_kafka_error_t> error(rd_kafka_begin_transaction(producer_.client()));
    if (error == nullptr || rd_kafka_error_code(error.get()) == RD_KAFKA_RESP_ERR__STATE) {
      return unavailable("kafka: the transaction was refused");
    }
    const EventProducer::Outcome& first = producer_.outcomes().front();
    const std::string events = first.topic == nullptr ? "" : fmt::format(" --topic '{}'", *first.topic);
    return naming_right(of_server(status_of_kafka(rd_kafka_error_code(error.get()), rd_kafka_error_string(error.get()),
                                                  "write a transaction")),
                        settings_, "Write", fmt::format("--topic '{}'{}", settings_.cursor_topic, events));
  }

  // Nothing of the transaction may be there, or all of it; the next producer and the cursor topic tell.
  WriteResult give_up(const Batch& batch, const Plan& plan, Status status, std::stop_token stop) {
    bool is_replaced = is_fenced(rd_kafka_fatal_error(producer_.client(), nullptr, 0));
    Status refused;
    for (size_t i = 0; i < producer_.outcomes().size(); ++i) {
      const EventProducer::Outcome& outcome = producer_.outcomes()[i];
      if (outcome.state != EventProducer::Outcome::kFailed || is_purged(outcome.error)) continue;
      is_replaced = is_replaced || is_fenced(outcome.error);
      if (!refused.ok()) continue;
      // Behind the events come their tenants' cursors.
      refused = i < plan.indexes.size()
                    ? status_of_kafka(outcome.error,
                                      fmt::format("publish event {}", event_id(batch.deliveries[plan.indexes[i]])))
                    : of_server(status_of_kafka(outcome.error, "write cursors"));
      refused = naming_right(refused, settings_, "Write", fmt::format("--topic '{}'", *outcome.topic));
    }
    close();
    if (is_replaced) return {0, judge(batch.fence, stop)};
    if (refused.code() == StatusCode::kInvalidArgument) {
      if (careful_ > 0) {
        careful_ = 0;
        return {plan.indexes.front(), refused};
      }
      // The broker refuses whole requests; sent one by one it becomes clear which event is meant.
      careful_ = plan.indexes.size();
      return {0, unavailable("kafka: a batch was refused, its events are sent one by one: {}", message_of(refused))};
    }
    const bool telling = !refused.ok() && status.code() == StatusCode::kUnavailable;
    return {0, telling ? refused : status};
  }

  // Another producer has our id. It is the owner when its epoch is higher, and else one that was.
  Status judge(const Fence& fence, std::stop_token stop) {
    HG_RETURN_IF_ERROR(load(std::move(stop)));
    loaded_ = false;
    return epoch_ > fence.epoch ? fenced(fence)
                                : unavailable("kafka: another producer uses transactional id '{}'; it is taken back",
                                              settings_.transactional_id);
  }

  Status fenced(const Fence& fence) const {
    return status_of(StatusCode::kFailedPrecondition, "kafka: topic '{}' names epoch {}, ours is {}",
                     settings_.cursor_topic, epoch_, fence.epoch);
  }

  const SinkInfo info_;
  const KafkaSettings settings_;
  EventProducer producer_;
  bool ready_ = false;
  bool loaded_ = false;
  std::unordered_map<std::string, Cursor> held_;  // by tenant, once loaded
  uint64_t epoch_ = 0;                            // the highest in the cursor topic
  size_t careful_ = 0;                            // so many more transactions of one event
};

}  // namespace

std::unique_ptr<Sink> make_transactional_sink(std::string name, Encoder encoder, EventProducer::Routes routes,
                                              const KafkaSettings& settings) {
  return std::make_unique<TransactionalSink>(std::move(name), std::move(encoder), std::move(routes), settings);
}

}  // namespace headgate::sinks
