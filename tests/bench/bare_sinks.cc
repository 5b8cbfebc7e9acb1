#include "tests/bench/bare_sinks.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <hiredis/hiredis.h>
#include <unistd.h>

#include <chrono>
#include <functional>
#include <stdexcept>

#include "sinks/kafka/client.h"
#include "sinks/kafka/topics.h"
#include "sinks/nats/connection.h"

namespace headgate::bench {
namespace {

using Clock = std::chrono::steady_clock;

void demand(bool good, const std::string& what) {
  if (!good) throw std::runtime_error("bare limit: cannot " + what);
}

double rate_since(Clock::time_point begin, size_t count) {
  return static_cast<double>(count) / std::chrono::duration<double>(Clock::now() - begin).count();
}

const WireEvent& event_at(const BareRun& run, size_t i) { return run.events[i % run.events.size()]; }

struct StoredCount : sinks::KafkaOwner {
  size_t stored = 0;
};

void on_kafka_delivery(rd_kafka_t*, const rd_kafka_message_t* message, void* opaque) {
  if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR)
    ++static_cast<StoredCount*>(static_cast<sinks::KafkaOwner*>(opaque))->stored;
}

sinks::NatsOwned<natsConnection> nats_connection(const BareRun& run) {
  natsConnection* connection = nullptr;
  demand(natsConnection_ConnectTo(&connection, ("nats://" + run.address).c_str()) == NATS_OK, "connect to nats");
  return sinks::NatsOwned<natsConnection>(connection);
}

natsMsg* nats_message(const std::string& subject, const WireEvent& event) {
  natsMsg* message = nullptr;
  natsMsg_Create(&message, subject.c_str(), nullptr, event.data.data(), static_cast<int>(event.data.size()));
  for (const auto& [name, value] : event.attributes) natsMsgHeader_Set(message, name.c_str(), value.c_str());
  return message;
}

// A blocking connection whose replies are counted and checked, `window` commands behind.
class RedisPipe {
 public:
  explicit RedisPipe(const std::string& address) {
    const size_t colon = address.find(':');
    context_ = redisConnect(address.substr(0, colon).c_str(), std::stoi(address.substr(colon + 1)));
    demand(context_ != nullptr && context_->err == 0, "connect to redis");
  }
  ~RedisPipe() { redisFree(context_); }

  void send(const std::vector<std::string_view>& words) {
    texts_.clear();
    lengths_.clear();
    for (const std::string_view word : words) {
      texts_.push_back(word.data());
      lengths_.push_back(word.size());
    }
    redisAppendCommandArgv(context_, static_cast<int>(words.size()), texts_.data(), lengths_.data());
    ++waiting_;
  }
  std::string await_all() {
    std::string last;
    for (; waiting_ > 0; --waiting_) {
      redisReply* reply = nullptr;
      demand(redisGetReply(context_, reinterpret_cast<void**>(&reply)) == REDIS_OK, "read redis' reply");
      const bool good = reply->type != REDIS_REPLY_ERROR;
      if (reply->str != nullptr) last.assign(reply->str, reply->len);
      freeReplyObject(reply);
      demand(good, "write to redis: " + last);
    }
    return last;
  }

 private:
  redisContext* context_;
  size_t waiting_ = 0;
  std::vector<const char*> texts_;
  std::vector<size_t> lengths_;
};

void add_fields(std::vector<std::string_view>& words, const WireEvent& event) {
  for (const auto& [name, value] : event.attributes) {
    words.emplace_back(name);
    words.emplace_back(value);
  }
  words.emplace_back("data");
  words.emplace_back(event.data);
}

// One command an event, 512 in a pipeline.
double pipeline(const BareRun& run, const std::function<void(const WireEvent&, std::vector<std::string_view>&)>& make) {
  RedisPipe pipe(run.address);
  std::vector<std::string_view> words;
  const auto begin = Clock::now();
  for (size_t i = 0; i < run.count; ++i) {
    words.clear();
    make(event_at(run, i), words);
    pipe.send(words);
    if (i % 512 == 511) pipe.await_all();
  }
  pipe.await_all();
  return rate_since(begin, run.count);
}

constexpr const char* kBareScript = R"lua(
local size = tonumber(ARGV[1])
for at = 2, #ARGV, size do redis.call('XADD', KEYS[1], '*', unpack(ARGV, at, at + size - 1)) end
redis.call('HSET', KEYS[2], 'xid', '1', 'sequence', '1', 'snap_token', '1')
)lua";

}  // namespace

namespace {

constexpr size_t kTransactionEvents = 4'096;
constexpr int kTransactionMs = 30'000;

void demand_done(rd_kafka_error_t* error, const std::string& what) {
  const sinks::KafkaOwned<rd_kafka_error_t> owned(error);
  demand(error == nullptr, what + (error == nullptr ? "" : rd_kafka_error_string(error)));
}

// Before event `i`: begins a transaction where one is due, and ends the one before.
void turn_transaction(rd_kafka_t* producer, size_t i) {
  if (i % kTransactionEvents != 0) return;
  if (i > 0) demand_done(rd_kafka_commit_transaction(producer, kTransactionMs), "commit: ");
  demand_done(rd_kafka_begin_transaction(producer), "begin: ");
}

double produce_to_kafka(const BareRun& run, sinks::KafkaSettings settings) {
  settings.brokers = run.address;
  settings.partitions = 4;
  const bool in_transactions = settings.mode == sinks::kTransactional;
  StoredCount count;
  const auto made = sinks::make_producer(settings, &on_kafka_delivery, &count);
  demand(made.ok(), "make a producer");
  rd_kafka_t* producer = made->get();
  const std::string topic = run.prefix + ".bare";
  demand(sinks::create_topic(producer, topic, settings, {}).ok(), "create a topic");
  if (in_transactions) demand_done(rd_kafka_init_transactions(producer, kTransactionMs), "use transactions: ");
  const auto begin = Clock::now();
  for (size_t i = 0; i < run.count; ++i) {
    const WireEvent& event = event_at(run, i);
    if (in_transactions) turn_transaction(producer, i);
    rd_kafka_headers_t* headers = rd_kafka_headers_new(16);
    for (const auto& [name, value] : event.attributes) {
      rd_kafka_header_add(headers, name.data(), static_cast<ssize_t>(name.size()), value.data(),
                          static_cast<ssize_t>(value.size()));
    }
    const auto error = rd_kafka_producev(
        producer, RD_KAFKA_V_TOPIC(topic.c_str()), RD_KAFKA_V_KEY(event.tenant.data(), event.tenant.size()),
        RD_KAFKA_V_VALUE(const_cast<char*>(event.data.data()), event.data.size()),
        RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_HEADERS(headers), RD_KAFKA_V_END);
    demand(error == RD_KAFKA_RESP_ERR_NO_ERROR, "produce");
    if (i % 256 == 0) rd_kafka_poll(producer, 0);
  }
  if (in_transactions) demand_done(rd_kafka_commit_transaction(producer, kTransactionMs), "commit: ");
  while (count.stored < run.count && Clock::now() - begin < std::chrono::seconds(120)) rd_kafka_poll(producer, 50);
  demand(count.stored == run.count, "deliver everything to kafka");
  return rate_since(begin, run.count);
}

}  // namespace

double bare_kafka(const BareRun& run) { return produce_to_kafka(run, {}); }

double bare_kafka_transactions(const BareRun& run) {
  sinks::KafkaSettings settings;
  settings.mode = sinks::kTransactional;
  settings.transactional_id = run.prefix + ".bare";
  return produce_to_kafka(run, settings);
}

double bare_jetstream(const BareRun& run) {
  const auto connection = nats_connection(run);
  jsCtx* raw = nullptr;
  jsOptions options;
  jsOptions_Init(&options);
  options.PublishAsync.MaxPending = 4'000;
  demand(natsConnection_JetStream(&raw, connection.get(), &options) == NATS_OK, "use JetStream");
  const sinks::NatsOwned<jsCtx> context(raw);
  jsStreamConfig config;
  jsStreamConfig_Init(&config);
  const std::string subjects = run.prefix + ".bare.>";
  const char* list[] = {subjects.c_str()};
  const std::string stream = run.prefix + "-bare";
  config.Name = stream.c_str();
  config.Subjects = list;
  config.SubjectsLen = 1;
  config.Storage = js_FileStorage;
  demand(js_AddStream(nullptr, raw, &config, nullptr, nullptr) == NATS_OK, "add a stream");
  const auto begin = Clock::now();
  for (size_t i = 0; i < run.count; ++i) {
    const WireEvent& event = event_at(run, i);
    natsMsg* message = nats_message(run.prefix + ".bare." + event.tenant, event);
    const std::string id = fmt::format("{}/{}/0#{}", event.tenant, i, i);
    jsPubOptions publish;
    jsPubOptions_Init(&publish);
    publish.MsgId = id.c_str();
    const natsStatus status = js_PublishMsgAsync(raw, &message, &publish);
    natsMsg_Destroy(message);
    demand(status == NATS_OK, "publish");
  }
  jsPubOptions complete;
  jsPubOptions_Init(&complete);
  complete.MaxWait = 60'000;
  demand(js_PublishAsyncComplete(raw, &complete) == NATS_OK, "complete the publishes");
  const double rate = rate_since(begin, run.count);
  jsStreamInfo* info = nullptr;
  demand(js_GetStreamInfo(&info, raw, stream.c_str(), nullptr, nullptr) == NATS_OK, "look at the stream");
  const uint64_t stored = info->State.Msgs;
  jsStreamInfo_Destroy(info);
  demand(stored == run.count, "store everything in JetStream");
  js_DeleteStream(raw, stream.c_str(), nullptr, nullptr);
  return rate;
}

double bare_nats_core(const BareRun& run) {
  const auto connection = nats_connection(run);
  const auto begin = Clock::now();
  for (size_t i = 0; i < run.count; ++i) {
    const WireEvent& event = event_at(run, i);
    const sinks::NatsOwned<natsMsg> message(nats_message(run.prefix + ".bare." + event.tenant, event));
    demand(natsConnection_PublishMsg(connection.get(), message.get()) == NATS_OK, "publish");
  }
  demand(natsConnection_FlushTimeout(connection.get(), 60'000) == NATS_OK, "flush");
  return rate_since(begin, run.count);
}

double bare_redis_xadd(const BareRun& run) {
  std::string key;
  const double rate = pipeline(run, [&](const WireEvent& event, std::vector<std::string_view>& words) {
    key = run.prefix + "-bare-xadd:" + event.tenant;
    words = {"XADD", key, "*"};
    add_fields(words, event);
  });
  RedisPipe pipe(run.address);
  for (const WireEvent& event : run.events) pipe.send({"UNLINK", key = run.prefix + "-bare-xadd:" + event.tenant});
  pipe.await_all();
  return rate;
}

double bare_redis_script(const BareRun& run) {
  constexpr size_t kEntries = 64;
  RedisPipe pipe(run.address);
  pipe.send({"SCRIPT", "LOAD", kBareScript});
  const std::string sha = pipe.await_all();
  const std::string stream = run.prefix + "-bare-script";
  const std::string position = stream + ":position";
  const std::string size = std::to_string(2 * run.events[0].attributes.size() + 2);
  std::vector<std::string_view> words;
  const auto begin = Clock::now();
  size_t scripts = 0;
  for (size_t i = 0; i < run.count;) {
    words = {"EVALSHA", sha, "2", stream, position, size};
    // A script takes events of one shape only; those without a previous token are not of it.
    const size_t end = std::min(run.count, i + kEntries);
    for (; i < end; ++i) add_fields(words, event_at(run, i));
    pipe.send(words);
    if (++scripts % 8 == 0) pipe.await_all();
  }
  pipe.await_all();
  const double rate = rate_since(begin, run.count);
  pipe.send({"UNLINK", stream});
  pipe.await_all();
  return rate;
}

double bare_redis_publish(const BareRun& run) {
  std::string channel;
  return pipeline(run, [&](const WireEvent& event, std::vector<std::string_view>& words) {
    channel = run.prefix + "-bare:" + event.tenant;
    words = {"PUBLISH", channel, event.line};
  });
}

void leave_append_only_file(const std::string& address) {
  RedisPipe pipe(address);
  pipe.send({"CONFIG", "SET", "auto-aof-rewrite-percentage", "0"});
  pipe.await_all();
}

double bare_file(const BareRun& run) {
  const int fd = ::open(run.address.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
  demand(fd >= 0, "open " + run.address);
  std::string chunk;
  const auto write_chunk = [&] {
    demand(::write(fd, chunk.data(), chunk.size()) == static_cast<ssize_t>(chunk.size()), "write " + run.address);
    chunk.clear();
  };
  const auto begin = Clock::now();
  for (size_t i = 0; i < run.count; ++i) {
    chunk += event_at(run, i).line;
    if (chunk.size() > 1 << 20) write_chunk();
  }
  write_chunk();
  demand(::fdatasync(fd) == 0, "sync");
  const double rate = rate_since(begin, run.count);
  ::close(fd);
  ::unlink(run.address.c_str());
  return rate;
}

}  // namespace headgate::bench
