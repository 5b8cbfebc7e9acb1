#include "ops/demo/demo.h"

#include <fmt/format.h>

#include <algorithm>
#include <sstream>

#include "ops/demo/changes.h"

namespace headgate::demo {
namespace {

constexpr const char* kGap = "dev.headgate.feed.gap.v1";
// Of the sinks that cannot tell what they were sent before the relay was killed.
constexpr const char* kInterrupted = "RELAY_INTERRUPTED";
constexpr auto kArrivalTimeout = std::chrono::seconds(30);

std::vector<std::string> sinks_of(const Places& places) {
  std::vector<std::string> sinks;
  if (!places.kafka.empty()) sinks.emplace_back("kafka");
  if (!places.redis.empty()) sinks.insert(sinks.end(), {"redis_streams", "redis_pubsub"});
  if (!places.nats.empty()) sinks.insert(sinks.end(), {"nats_jetstream", "nats_core"});
  if (!places.file.empty()) sinks.emplace_back("file");
  return sinks;
}

std::string milliseconds(int64_t us) { return us < 0 ? "-" : fmt::format("{:.1f} ms", static_cast<double>(us) / 1000); }

}  // namespace

Demo::Demo(const Places& places) : places_(places), ledger_(sinks_of(places)), engine_(places.engine) {
  if (!places.kafka.empty()) add(testing::subscribe_kafka(places.kafka, places.kafka_topic));
  if (!places.redis.empty()) {
    add(testing::subscribe_redis_streams(places.redis, places.redis_streams));
    add(testing::subscribe_redis_pubsub(places.redis, places.redis_channels));
  }
  if (!places.nats.empty()) {
    add(testing::subscribe_jetstream(places.nats, places.nats_stream, places.nats_stream_subject));
    add(testing::subscribe_nats_core(places.nats, places.nats_subject));
  }
  if (!places.file.empty()) add(testing::subscribe_file(places.file));
}

void Demo::add(std::unique_ptr<testing::Subscriber> subscriber) {
  subscriber->on_event([this, sink = subscriber->kind()](const testing::Received& event) { take(sink, event); });
  subscribers_.push_back(std::move(subscriber));
}

void Demo::take(const std::string& sink, const testing::Received& received) {
  if (received.type == kGap) ++(received.reason == kInterrupted ? interruptions_ : gaps_);
  if (!received.is_changes()) return;
  ledger_.arrived(sink, {.id = received.id,
                         .token = received.token,
                         .changes = texts_of(received.changes),
                         .at_us = received.received_at_us});
}

Status Demo::run(const std::string& line) {
  std::istringstream words(line);
  std::string command;
  int number = 0;
  words >> command >> number;
  if (command == "ready") return ready();
  if (command == "setup") return setup();
  if (command == "write") return write(number);
  if (command == "blind") return write_blind(number);
  if (command == "catch-up") return catch_up(number);
  if (command == "verdict") return verdict();
  return invalid_argument("unknown command '{}'", command);
}

Status Demo::ready() {
  HG_RETURN_IF_ERROR(engine_.wait_until_ready(20));
  for (const auto& subscriber : subscribers_) {
    if (!subscriber->wait_ready(std::chrono::seconds(20))) {
      return unavailable("cannot subscribe to {} within 20 s", subscriber->kind());
    }
  }
  return ok_status();
}

Status Demo::setup() {
  for (const auto& [id, name] : tenants()) {
    HG_RETURN_IF_ERROR(engine_.create_tenant(id, name));
    HG_RETURN_IF_ERROR(engine_.write_schema(id, kSchema));
  }
  for (const Step& step : first_steps()) {
    HG_ASSIGN_OR_RETURN(const Transaction transaction, engine_.run(step));
    ledger_.wrote(transaction);
  }
  return catch_up(std::chrono::seconds(kArrivalTimeout).count());
}

void Demo::show(const Transaction& transaction) const {
  std::string times;
  for (const auto& [sink, latency] : ledger_.latencies(transaction.tenant, transaction.xid)) {
    times += fmt::format("{}{} {}", times.empty() ? "" : ", ", sink, milliseconds(latency));
  }
  fmt::print("  {:<8} {}\n           token {}\n           {}\n", transaction.tenant, transaction.title,
             transaction.token, times);
  std::fflush(stdout);
}

Status Demo::write(int count) {
  for (int i = 0; i < count; ++i) {
    HG_ASSIGN_OR_RETURN(Transaction transaction, engine_.run(story_.next()));
    transaction.timed = true;
    ledger_.wrote(transaction);
    const bool complete = ledger_.wait_until_complete(kArrivalTimeout, {});
    show(transaction);
    if (!complete) return status_of(StatusCode::kDeadlineExceeded, "not everywhere after 30 s");
  }
  return ok_status();
}

Status Demo::write_blind(int count) {
  for (int i = 0; i < count; ++i) {
    HG_ASSIGN_OR_RETURN(const Transaction transaction, engine_.run(story_.next()));
    ledger_.wrote(transaction);
  }
  return ok_status();
}

Status Demo::catch_up(int seconds) {
  if (ledger_.wait_until_complete(std::chrono::seconds(seconds), {})) return ok_status();
  std::string missing;
  for (const Verdict& v : ledger_.verdicts()) {
    if (v.missing > 0) missing += fmt::format("{}{}: {} missing", missing.empty() ? "" : ", ", v.sink, v.missing);
  }
  return status_of(StatusCode::kDeadlineExceeded, "not everything arrived within {} s ({})", seconds, missing);
}

Status Demo::verdict() {
  bool clean = gaps_ == 0;
  fmt::print("  {:<16}{:>8}{:>9}{:>9}{:>10}{:>14}{:>7}{:>11}{:>11}\n", "sink", "written", "arrived", "missing",
             "repeated", "out of order", "wrong", "median", "slowest");
  for (const Verdict& v : ledger_.verdicts()) {
    fmt::print("  {:<16}{:>8}{:>9}{:>9}{:>10}{:>14}{:>7}{:>11}{:>11}\n", v.sink, ledger_.written(), v.arrived,
               v.missing, v.repeated, v.disordered, v.wrong, milliseconds(v.median_us), milliseconds(v.slowest_us));
    clean = clean && v.clean();
  }
  if (interruptions_ > 0) {
    fmt::print("  {} events tell subscribers of redis_pubsub and nats_core that the relay was killed\n",
               interruptions_.load());
  }
  if (gaps_ > 0) fmt::print("  {} events say that history was lost\n", gaps_.load());
  for (const auto& subscriber : subscribers_) {
    for (const std::string& fault : subscriber->faults()) {
      fmt::print("  {}: {}\n", subscriber->kind(), fault);
      clean = false;
    }
  }
  return clean ? ok_status() : status_of(StatusCode::kDataLoss, "not every change arrived exactly once and unchanged");
}

}  // namespace headgate::demo
