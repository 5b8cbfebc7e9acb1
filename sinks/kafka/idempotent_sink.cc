#include <unordered_map>

#include "base/log.h"
#include "base/refusals.h"
#include "sinks/kafka/modes.h"
#include "sinks/kafka/topics.h"

namespace headgate::sinks {
namespace {

// Identifies one delivery over retries.
std::string key_of(const std::string& id, uint64_t sequence) { return fmt::format("{}#{}", id, sequence); }

// The end of the unbroken run of one tenant's events in a tail. What lies behind a gap is not counted: the event that
// is missing there still has to come. Of a gap up to `acknowledged` the caller knows: it left those events out.
class Run {
 public:
  void take(const Cursor& next, uint64_t acknowledged) {
    if (broken_) return;
    const bool follows = !last_ || next.sequence == last_->sequence + 1 || next.incarnation != last_->incarnation;
    const bool known_gap = last_ && next.sequence > last_->sequence && next.sequence <= acknowledged + 1;
    if (follows || known_gap) {
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

class IdempotentSink : public Sink {
 public:
  IdempotentSink(std::string name, Encoder encoder, EventProducer::Routes routes, KafkaSettings settings)
      : info_{name, "kafka", Guarantee::kAtLeastOnce},
        topic_(routes.topic),
        settings_(std::move(settings)),
        producer_(std::move(name), std::move(encoder), std::move(routes), settings_) {}

  const SinkInfo& info() const override { return info_; }
  size_t max_event_bytes() const override { return producer_.max_event_bytes(); }
  Status open(std::stop_token stop) override { return producer_.open(stop); }
  void close() override { producer_.close(); }

  StatusOr<std::map<std::string, Cursor>> recover(const std::map<std::string, Cursor>& stored,
                                                  std::stop_token stop) override {
    if (!producer_.is_open()) return unavailable("kafka: not connected");
    // Also of tenants without a cursor: of new ones, and of all when the store was lost.
    HG_ASSIGN_OR_RETURN(std::set<std::string> topics, topics_of(producer_.client(), topic_, settings_, stop));
    std::unordered_map<std::string, Run> runs;
    std::map<std::string, Cursor> found;
    HG_ASSIGN_OR_RETURN(const std::set<std::string> untouched, read_back_tails(topics, &runs, &stored, stop));
    // Who may write to no topic at all is told so by now.
    HG_RETURN_IF_ERROR(producer_.fatal());
    for (const auto& [tenant, cursor] : stored) {
      // A topic that never had a record is not the one that we have written to. A tenant whose name makes no topic has
      // never had an event here.
      const auto topic = topic_.render_tenant(tenant);
      const bool gone = topic.ok() && untouched.count(*topic) > 0;
      if (gone && cursor.sequence > 0) found[tenant] = {};
    }
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
    if (!producer_.is_open()) return {0, unavailable("kafka: not connected")};
    if (!doubtful_.empty()) {
      if (const auto read = read_back_tails({}, nullptr, nullptr, stop); !read.ok()) {
        return {0, read.status()};
      }
    }
    producer_.begin(batch.deliveries.size());
    const auto deadline = std::chrono::steady_clock::now() + settings_.write_timeout;
    Status status = produce_all(batch, deadline, stop);
    const Status acknowledged = producer_.await_all(deadline, stop);
    if (status.ok()) status = acknowledged;
    if (producer_.waiting() > 0 || producer_.failed()) {
      const Status fatal = producer_.fatal();
      give_up(batch);
      return result(batch, status, fatal);
    }
    return result(batch, status, ok_status());
  }

  Status heartbeat(const Heartbeat& heartbeat, std::stop_token stop) override {
    if (!producer_.is_open()) return unavailable("kafka: not connected");
    const auto deadline = std::chrono::steady_clock::now() + settings_.write_timeout;
    Status status = producer_.produce_heartbeat(heartbeat, deadline, stop);
    if (status.ok()) status = producer_.await_all(deadline, stop);
    if (status.ok() && producer_.failed()) status = producer_.failure("publish a heartbeat");
    if (!status.ok()) close();
    return status;
  }

 private:
  using Outcome = EventProducer::Outcome;

  Status produce_all(const Batch& batch, MonotonicTime deadline, std::stop_token stop) {
    for (size_t i = 0; i < batch.deliveries.size() && !producer_.failed(); ++i) {
      if (is_present(batch.deliveries[i])) {
        producer_.skip(i);
        continue;
      }
      HG_RETURN_IF_ERROR(producer_.produce(batch.deliveries[i], i, deadline, stop));
      HG_RETURN_IF_ERROR(careful_ ? producer_.await_all(deadline, stop) : producer_.make_room(deadline, stop));
    }
    return ok_status();
  }

  // Takes the note away: it is of use once.
  bool is_present(const Delivery& delivery) {
    return !present_.empty() && present_.erase(key_of(event_id(delivery), delivery.sequence)) > 0;
  }

  // The producer goes, so that nothing in its queues can be stored later; what it had sent is in doubt until the topics
  // were read back.
  void give_up(const Batch& batch) {
    close();
    for (size_t i = 0; i < batch.deliveries.size(); ++i) {
      const Outcome& outcome = producer_.outcomes()[i];
      if (outcome.state != Outcome::kWaiting && outcome.state != Outcome::kFailed) continue;
      doubtful_[key_of(event_id(batch.deliveries[i]), batch.deliveries[i].sequence)] = *outcome.topic;
    }
  }

  // `fatal`: of the producer that is gone.
  WriteResult result(const Batch& batch, Status status, const Status& fatal) {
    const std::vector<Outcome>& outcomes = producer_.outcomes();
    size_t written = 0;
    while (written < outcomes.size() && outcomes[written].state == Outcome::kStored) ++written;
    if (written == outcomes.size()) {
      careful_ = false;
      return {written, ok_status()};
    }
    const Outcome& first = outcomes[written];
    const bool purged =
        first.error == RD_KAFKA_RESP_ERR__PURGE_QUEUE || first.error == RD_KAFKA_RESP_ERR__PURGE_INFLIGHT;
    if (first.state != Outcome::kFailed || purged) {
      // Nothing was said about this one itself; another one's failure ended the batch.
      if (status.ok()) status = unavailable("kafka: an event of the same batch failed; the rest is sent again");
      if (first.state != Outcome::kUnsent && status.code() == StatusCode::kInvalidArgument) {
        status = with_refusal(unavailable("kafka: {}", message_of(status)), RefusalKind::kAway);
      }
      return {written, status};
    }
    if (first.error == RD_KAFKA_RESP_ERR__FATAL && !fatal.ok()) return {written, fatal};
    status =
        naming_right(status_of_kafka(first.error, fmt::format("publish event {}", event_id(batch.deliveries[written]))),
                     settings_, "Write", fmt::format("--topic '{}'", *first.topic));
    if (status.code() == StatusCode::kInvalidArgument && !careful_) {
      // The broker refuses whole requests; sent one by one it becomes clear which event is meant.
      careful_ = true;
      status = unavailable("kafka: a batch was refused, its events are sent one by one: {}", message_of(status));
    }
    return {written, status};
  }

  // Clears the doubts, and tells each tenant's run when asked.
  StatusOr<std::set<std::string>> read_back_tails(std::set<std::string> topics,
                                                  std::unordered_map<std::string, Run>* runs,
                                                  const std::map<std::string, Cursor>* stored, std::stop_token stop) {
    for (const auto& [key, topic] : doubtful_) topics.insert(topic);
    std::map<std::string, Found> present;
    const auto take = [&](const Found& event, const AttributeLookup& get) {
      if (runs != nullptr) {
        const auto known = stored->find(event.tenant);
        (*runs)[event.tenant].take(event.cursor, known == stored->end() ? 0 : known->second.sequence);
      }
      if (std::string key = key_of(get("id").value_or(""), event.cursor.sequence); doubtful_.count(key) > 0) {
        present.emplace(std::move(key), event);
      }
    };
    HG_ASSIGN_OR_RETURN(std::set<std::string> untouched, read_tails(topics, settings_, take, stop));
    if (!doubtful_.empty()) {
      log_info("kafka_tail_read", {{"sink", info_.name}, {"in_doubt", doubtful_.size()}, {"stored", present.size()}});
    }
    present_.merge(present);
    doubtful_.clear();
    return untouched;
  }

  const SinkInfo info_;
  const Route topic_;
  const KafkaSettings settings_;
  EventProducer producer_;
  std::unordered_map<std::string, std::string> doubtful_;  // deliveries whose fate is unknown -> topic
  std::map<std::string, Found> present_;                   // of those, the ones that were found stored
  bool careful_ = false;                                   // one event at a time
};

}  // namespace

std::unique_ptr<Sink> make_idempotent_sink(std::string name, Encoder encoder, EventProducer::Routes routes,
                                           const KafkaSettings& settings) {
  return std::make_unique<IdempotentSink>(std::move(name), std::move(encoder), std::move(routes), settings);
}

}  // namespace headgate::sinks
