#include "sinks/kafka/producer.h"

#include <array>

#include "sinks/kafka/limits.h"
#include "sinks/kafka/topics.h"

namespace headgate::sinks {
namespace {

void add_header(rd_kafka_headers_t* headers, std::string_view name, std::string_view value) {
  rd_kafka_header_add(headers, name.data(), static_cast<ssize_t>(name.size()), value.data(),
                      static_cast<ssize_t>(value.size()));
}

}  // namespace

EventProducer::EventProducer(std::string sink, Encoder encoder, Routes routes, const KafkaSettings& settings)
    : sink_(std::move(sink)), encoder_(std::move(encoder)), routes_(std::move(routes)), settings_(settings) {}

Status EventProducer::open(std::stop_token stop) {
  if (is_open() && rd_kafka_fatal_error(client_.get(), nullptr, 0) == RD_KAFKA_RESP_ERR_NO_ERROR) return ok_status();
  close();
  HG_ASSIGN_OR_RETURN(client_, make_producer(settings_, &EventProducer::on_delivery, this));
  warned_ = false;
  last_error = RD_KAFKA_RESP_ERR_NO_ERROR;
  Status status = await_broker(client_.get(), *this, settings_, stop);
  // The only topic there is: whether it can be used is known before an event comes.
  if (status.ok() && !routes_.topic.needs_tenant()) {
    const auto name = routes_.topic.render_tenant("");
    status = name.ok() ? prepare(*name, topics_[*name], stop) : name.status();
  }
  if (status.ok()) learn_limit(std::move(stop));
  if (!status.ok()) close();
  return status;
}

void EventProducer::learn_limit(std::stop_token stop) {
  std::string topic;
  if (!routes_.topic.needs_tenant()) topic = routes_.topic.render_tenant("").value_or("");
  const size_t of_topic = record_bytes_max(client_.get(), topic, settings_, std::move(stop));
  max_event_bytes_ = of_topic == 0 ? settings_.message_bytes_max : std::min(settings_.message_bytes_max, of_topic);
}

void EventProducer::close() {
  if (client_ == nullptr) return;
  rd_kafka_purge(client_.get(), RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
  for (int i = 0; i < 5 && rd_kafka_outq_len(client_.get()) > 0; ++i) rd_kafka_poll(client_.get(), 20);
  for (auto& [name, topic] : topics_) topic = {};
  client_.reset();
}

Status EventProducer::open_topic(const std::string& name, const KafkaSettings& how, TopicUse use,
                                 std::stop_token stop) {
  Topic& topic = topics_[name];
  if (how.create_topics && !topic.created) {
    HG_RETURN_IF_ERROR(create_topic(client_.get(), name, how, stop));
    topic.created = true;
  }
  HG_ASSIGN_OR_RETURN(const TopicFacts facts, await_topic(client_.get(), name, how, stop));
  topic.partitions = facts.partitions;
  // Of many topics the first one stands for all, which are made alike.
  if (use == TopicUse::kCursors || !std::exchange(warned_, true)) {
    warn_of_topic(client_.get(), sink_, name, facts, how, use, std::move(stop));
  }
  return ok_status();
}

void EventProducer::begin(size_t messages) {
  outcomes_.assign(messages, Outcome{});
  waiting_ = waiting_bytes_ = 0;
  failed_ = false;
}

// Runs inside our polls.
void EventProducer::on_delivery(rd_kafka_t*, const rd_kafka_message_t* message, void* opaque) {
  auto& producer = *static_cast<EventProducer*>(static_cast<KafkaOwner*>(opaque));
  const auto index = reinterpret_cast<uintptr_t>(message->_private);
  if (index >= producer.outcomes_.size() || producer.outcomes_[index].state != Outcome::kWaiting) return;
  Outcome& outcome = producer.outcomes_[index];
  outcome.error = message->err;
  outcome.state = message->err == RD_KAFKA_RESP_ERR_NO_ERROR ? Outcome::kStored : Outcome::kFailed;
  producer.failed_ = producer.failed_ || outcome.state == Outcome::kFailed;
  producer.waiting_ -= 1;
  producer.waiting_bytes_ -= outcome.bytes;
}

Status EventProducer::await(size_t count, size_t bytes, MonotonicTime deadline, std::stop_token stop) {
  rd_kafka_poll(client_.get(), 0);
  while (!failed_ && waiting_ > count && (bytes == 0 || waiting_bytes_ > bytes)) {
    if (stop.stop_requested()) return make_status(StatusCode::kCancelled, "stopped");
    if (std::chrono::steady_clock::now() > deadline) {
      return status_of(StatusCode::kDeadlineExceeded, "kafka: {} events are not acknowledged within write_timeout",
                       waiting_);
    }
    if (count == 0 && bytes == 0) {
      // Nothing more is to come, so what still lingers for company goes out.
      rd_kafka_flush(client_.get(), kSliceMs);
    } else {
      rd_kafka_poll(client_.get(), kSliceMs);
    }
  }
  return ok_status();
}

Status EventProducer::fatal() const {
  std::array<char, 512> text{};
  const rd_kafka_resp_err_t error = rd_kafka_fatal_error(client_.get(), text.data(), text.size());
  if (error == RD_KAFKA_RESP_ERR_NO_ERROR) return ok_status();
  const std::string topic = routes_.topic.needs_tenant() ? "..." : routes_.topic.render_tenant("").value_or("...");
  return naming_right(status_of_kafka(error, text.data(), "go on"), settings_, "Write",
                      fmt::format("--topic '{}'", topic));
}

Status EventProducer::failure(const std::string& tried) const {
  for (const Outcome& outcome : outcomes_) {
    if (outcome.state == Outcome::kFailed) return status_of_kafka(outcome.error, tried);
  }
  return unavailable("kafka: cannot {}", tried);
}

Status EventProducer::make_room(MonotonicTime deadline, std::stop_token stop) {
  if (waiting_bytes_ <= settings_.inflight_bytes_max) return ok_status();
  return await(0, settings_.inflight_bytes_max / 2, deadline, stop);
}

Status EventProducer::produce(const Delivery& delivery, size_t index, MonotonicTime deadline, std::stop_token stop) {
  Record record;
  HG_ASSIGN_OR_RETURN(record.topic, routes_.topic.render_tenant(delivery.event->tenant));
  HG_ASSIGN_OR_RETURN(record.key, routes_.key.render_tenant(delivery.event->tenant));
  HG_RETURN_IF_ERROR(encoder_.encode(delivery, encoded_));
  record.value = encoded_.data();
  const size_t bytes = encoded_.bytes() + record.key.size();
  if (bytes > settings_.message_bytes_max) {
    return invalid_argument(
        "kafka: event {} has {} bytes; message_bytes_max is {} (see also the topic's max.message.bytes)", encoded_.id(),
        bytes, settings_.message_bytes_max);
  }
  return post(record, index, deadline, stop);
}

Status EventProducer::produce_cursor(const Delivery& delivery, const std::string& topic, uint64_t epoch, size_t index,
                                     MonotonicTime deadline, std::stop_token stop) {
  HG_RETURN_IF_ERROR(encoder_.encode(delivery, encoded_));
  // Not empty: a message without a value would delete its key.
  return post({topic, delivery.event->tenant, "cursor", epoch}, index, deadline, stop);
}

Status EventProducer::produce_heartbeat(const Heartbeat& heartbeat, MonotonicTime deadline, std::stop_token stop) {
  const std::vector<Delivery> deliveries = heartbeat_deliveries(heartbeat);
  begin(deliveries.size());
  if (!heartbeat.tenants.empty()) {
    for (size_t i = 0; i < deliveries.size() && !failed_; ++i) {
      HG_RETURN_IF_ERROR(produce(deliveries[i], i, deadline, stop));
      HG_RETURN_IF_ERROR(make_room(deadline, stop));
    }
    return ok_status();
  }
  Record record;
  HG_ASSIGN_OR_RETURN(record.topic, routes_.topic.render_tenant(""));
  HG_RETURN_IF_ERROR(encoder_.encode(deliveries[0], encoded_));
  record.value = encoded_.data();
  // Partitions that were added meanwhile have events too.
  HG_ASSIGN_OR_RETURN(const TopicFacts facts, await_topic(client_.get(), record.topic, settings_, stop));
  begin(facts.partitions);
  for (record.partition = 0; record.partition < facts.partitions && !failed_; ++record.partition) {
    HG_RETURN_IF_ERROR(post(record, record.partition, deadline, stop));
  }
  return ok_status();
}

Status EventProducer::post(const Record& record, size_t index, MonotonicTime deadline, std::stop_token stop) {
  const auto entry = topics_.try_emplace(record.topic).first;
  HG_RETURN_IF_ERROR(prepare(entry->first, entry->second, stop));
  Outcome& outcome = outcomes_[index];
  outcome.bytes = encoded_.bytes() + record.key.size();
  outcome.topic = &entry->first;
  outcome.state = Outcome::kWaiting;
  ++waiting_;
  waiting_bytes_ += outcome.bytes;
  rd_kafka_resp_err_t error = hand_over(entry->second, record, index);
  while (error == RD_KAFKA_RESP_ERR__QUEUE_FULL && !failed_) {
    if (const Status room = await(waiting_ / 2, 0, deadline, stop); !room.ok()) {
      take_back(outcome);
      return room;
    }
    error = hand_over(entry->second, record, index);
  }
  if (error == RD_KAFKA_RESP_ERR_NO_ERROR) {
    if (index % 256 == 0) rd_kafka_poll(client_.get(), 0);
    return ok_status();
  }
  take_back(outcome);
  if (error == RD_KAFKA_RESP_ERR__FATAL) failed_ = true;
  return status_of_kafka(error, fmt::format("publish event {}", encoded_.id()));
}

// Looking a topic up by its name, for every event, is what the handle saves.
Status EventProducer::prepare(const std::string& name, Topic& topic, std::stop_token stop) {
  if (topic.handle != nullptr) return ok_status();
  HG_RETURN_IF_ERROR(open_topic(name, settings_, TopicUse::kEvents, std::move(stop)));
  topic.handle.reset(rd_kafka_topic_new(client_.get(), name.c_str(), nullptr));
  if (topic.handle != nullptr) return ok_status();
  return status_of_kafka(rd_kafka_last_error(), fmt::format("use topic '{}'", name));
}

void EventProducer::take_back(Outcome& outcome) {
  outcome.state = Outcome::kUnsent;
  --waiting_;
  waiting_bytes_ -= outcome.bytes;
}

rd_kafka_resp_err_t EventProducer::hand_over(const Topic& topic, const Record& record, size_t index) {
  rd_kafka_headers_t* headers = rd_kafka_headers_new(16);
  std::string name = "ce_";
  for (const Attribute& attribute : encoded_) {
    name.resize(3);
    name += attribute.name;
    add_header(headers, name, attribute.value);
  }
  add_header(headers, "content-type", encoded_.content_type());
  if (record.epoch > 0) add_header(headers, kEpochHeader, std::to_string(record.epoch));
  const rd_kafka_resp_err_t error =
      rd_kafka_producev(client_.get(), RD_KAFKA_V_RKT(topic.handle.get()), RD_KAFKA_V_PARTITION(record.partition),
                        RD_KAFKA_V_KEY(record.key.data(), record.key.size()),
                        RD_KAFKA_V_VALUE(const_cast<char*>(record.value.data()), record.value.size()),
                        RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_HEADERS(headers),
                        RD_KAFKA_V_OPAQUE(reinterpret_cast<void*>(index)), RD_KAFKA_V_END);
  if (error != RD_KAFKA_RESP_ERR_NO_ERROR) rd_kafka_headers_destroy(headers);
  return error;
}

}  // namespace headgate::sinks
