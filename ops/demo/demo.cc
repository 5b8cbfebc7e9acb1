#include "ops/demo/demo.h"

#include <fmt/format.h>

#include <algorithm>
#include <sstream>

#include "base/clock.h"

namespace headgate::demo {
namespace {

constexpr auto kArrivalTimeout = std::chrono::seconds(30);

std::vector<std::string> sinks_of(const Places& places) {
  std::vector<std::string> sinks;
  if (!places.kafka.empty()) sinks.emplace_back("kafka");
  if (!places.redis.empty()) sinks.insert(sinks.end(), {"redis stream", "redis pub/sub"});
  if (!places.nats.empty()) sinks.insert(sinks.end(), {"jetstream", "core nats"});
  if (!places.file.empty()) sinks.emplace_back("file");
  return sinks;
}

std::string with_tenant(std::string pattern, const std::string& tenant) {
  const size_t at = pattern.find("{tenant}");
  return at == std::string::npos ? pattern : pattern.replace(at, 8, tenant);
}

std::string milliseconds(int64_t us) { return us < 0 ? "-" : fmt::format("{:.1f} ms", static_cast<double>(us) / 1000); }

}  // namespace

Demo::Demo(const Places& places) : places_(places), sinks_(sinks_of(places)), ledger_(sinks_), engine_(places.engine) {
  for (const std::string& sink : sinks_) inboxes_.emplace_back(sink, ledger_);
  subscribe();
}

Inbox& Demo::inbox(const std::string& sink) {
  return *std::find_if(inboxes_.begin(), inboxes_.end(), [&](const Inbox& inbox) { return inbox.sink() == sink; });
}

void Demo::subscribe() {
  if (!places_.kafka.empty()) {
    subscribers_.push_back(subscribe_kafka(places_.kafka, places_.kafka_prefix, inbox("kafka")));
  }
  if (!places_.redis.empty()) {
    std::vector<std::string> keys;
    for (const auto& [id, name] : tenants()) keys.push_back(with_tenant(places_.redis_stream, id));
    subscribers_.push_back(subscribe_redis_streams(places_.redis, keys, inbox("redis stream")));
    subscribers_.push_back(subscribe_redis_channels(places_.redis, places_.redis_channel, inbox("redis pub/sub")));
  }
  if (!places_.nats.empty()) {
    subscribers_.push_back(subscribe_nats_stream(places_.nats, places_.nats_stream_subject, inbox("jetstream")));
    subscribers_.push_back(subscribe_nats_subject(places_.nats, places_.nats_subject, inbox("core nats")));
  }
  if (!places_.file.empty()) subscribers_.push_back(subscribe_file(places_.file, inbox("file")));
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
  for (int attempt = 0; attempt < 400; ++attempt) {
    const auto waiting =
        std::find_if(inboxes_.begin(), inboxes_.end(), [](const Inbox& i) { return !i.is_subscribed(); });
    if (waiting == inboxes_.end()) return ok_status();
    system_clock().sleep(Duration(50), {});
  }
  for (const Inbox& inbox : inboxes_) {
    if (!inbox.is_subscribed()) return unavailable("cannot subscribe to {} within 20 s", inbox.sink());
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
  HG_RETURN_IF_ERROR(catch_up(std::chrono::seconds(kArrivalTimeout).count()));
  ledger_.restart_latencies();
  return ok_status();
}

void Demo::show(const Transaction& transaction) const {
  std::string times;
  for (const std::string& sink : sinks_) {
    const auto latencies = ledger_.latencies(transaction.tenant, transaction.xid);
    times += fmt::format("{}{} {}", times.empty() ? "" : ", ", sink, milliseconds(latencies.at(sink)));
  }
  fmt::print("  {:<8} {}\n           token {}\n           {}\n", transaction.tenant, transaction.title,
             transaction.token, times);
  std::fflush(stdout);
}

Status Demo::write(int count) {
  for (int i = 0; i < count; ++i) {
    HG_ASSIGN_OR_RETURN(const Transaction transaction, engine_.run(story_.next()));
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
  bool clean = true;
  fmt::print("  {:<14}{:>8}{:>9}{:>9}{:>10}{:>14}{:>7}{:>6}{:>11}{:>11}\n", "sink", "written", "arrived", "missing",
             "repeated", "out of order", "wrong", "gaps", "median", "slowest");
  for (const Verdict& v : ledger_.verdicts()) {
    const size_t gaps = inbox(v.sink).gaps();
    fmt::print("  {:<14}{:>8}{:>9}{:>9}{:>10}{:>14}{:>7}{:>6}{:>11}{:>11}\n", v.sink, ledger_.written(), v.arrived,
               v.missing, v.repeated, v.disordered, v.wrong, gaps, milliseconds(v.median_us),
               milliseconds(v.slowest_us));
    clean = clean && v.clean() && gaps == 0;
  }
  return clean ? ok_status() : status_of(StatusCode::kDataLoss, "not every change arrived exactly once and unchanged");
}

}  // namespace headgate::demo
