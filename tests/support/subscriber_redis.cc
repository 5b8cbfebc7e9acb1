#include <hiredis/hiredis.h>

#include <set>

#include "tests/support/subscriber_base.h"

namespace headgate::testing {
namespace {

using std::chrono::milliseconds;

struct CloseContext {
  void operator()(redisContext* context) const { redisFree(context); }
};
using Context = std::unique_ptr<redisContext, CloseContext>;

struct FreeReply {
  void operator()(redisReply* reply) const { freeReplyObject(reply); }
};
using Reply = std::unique_ptr<redisReply, FreeReply>;

Context connect(const HostPort& address, milliseconds read_timeout) {
  const timeval connect_timeout{1, 0};
  Context context(redisConnectWithTimeout(address.host.c_str(), address.port, connect_timeout));
  if (context == nullptr || context->err != 0) return nullptr;
  const auto ms = read_timeout.count();
  redisSetTimeout(context.get(), {ms / 1000, ms % 1000 * 1000});
  return context;
}

Reply command(redisContext* context, const std::vector<std::string>& words) {
  std::vector<const char*> texts;
  std::vector<size_t> sizes;
  for (const std::string& word : words) {
    texts.push_back(word.data());
    sizes.push_back(word.size());
  }
  return Reply(
      static_cast<redisReply*>(redisCommandArgv(context, static_cast<int>(words.size()), texts.data(), sizes.data())));
}

std::string text_of(const redisReply* reply) {
  return reply->str == nullptr ? "" : std::string(reply->str, static_cast<size_t>(reply->len));
}

class StreamsSubscriber final : public SubscriberBase {
 public:
  StreamsSubscriber(const std::string& address, std::string keys)
      : SubscriberBase("redis_streams"), address_(split_address(address)), keys_(std::move(keys)) {
    set_ready();
    start();
  }
  ~StreamsSubscriber() override { stop(); }

 protected:
  void run(std::stop_token stop) override {
    while (!stop.stop_requested()) {
      const Context context = connect(address_, milliseconds(2000));
      while (context != nullptr && !stop.stop_requested()) {
        if (std::chrono::steady_clock::now() > next_scan_ && !find_keys(context.get())) break;
        const int got = read_new(context.get());
        if (got < 0) break;
        if (got == 0) pause(stop, milliseconds(1));
      }
      pause(stop, milliseconds(20));
    }
  }

 private:
  bool find_keys(redisContext* context) {
    std::string cursor = "0";
    do {
      const Reply reply = command(context, {"SCAN", cursor, "MATCH", keys_, "COUNT", "1000", "TYPE", "stream"});
      if (reply == nullptr || reply->type != REDIS_REPLY_ARRAY) return false;
      cursor = text_of(reply->element[0]);
      for (size_t i = 0; i < reply->element[1]->elements; ++i) {
        last_ids_.emplace(text_of(reply->element[1]->element[i]), "0-0");
      }
    } while (cursor != "0");
    next_scan_ = std::chrono::steady_clock::now() + milliseconds(100);
    return true;
  }

  // The number of events, or -1 when the connection broke.
  int read_new(redisContext* context) {
    if (last_ids_.empty()) return 0;
    std::vector<std::string> words = {"XREAD", "COUNT", "2000", "STREAMS"};
    for (const auto& [key, id] : last_ids_) words.push_back(key);
    for (const auto& [key, id] : last_ids_) words.push_back(id);
    const Reply reply = command(context, words);
    if (reply == nullptr || reply->type == REDIS_REPLY_ERROR) return -1;
    if (reply->type == REDIS_REPLY_NIL) return 0;
    int got = 0;
    for (size_t i = 0; i < reply->elements; ++i) {
      const redisReply* stream = reply->element[i];
      for (size_t j = 0; j < stream->element[1]->elements; ++j, ++got) {
        take(text_of(stream->element[0]), *stream->element[1]->element[j]);
      }
    }
    return got;
  }

  void take(const std::string& key, const redisReply& entry) {
    last_ids_[key] = text_of(entry.element[0]);
    std::map<std::string, std::string> fields;
    const redisReply& pairs = *entry.element[1];
    for (size_t i = 0; i + 1 < pairs.elements; i += 2)
      fields[text_of(pairs.element[i])] = text_of(pairs.element[i + 1]);
    const auto get = [&](const std::string& name) -> std::optional<std::string> {
      const auto it = fields.find(name);
      if (it == fields.end()) return std::nullopt;
      return it->second;
    };
    std::string error;
    auto event = decode_binary(get, fields["data"], &error);
    add(std::move(event), error + " in " + key + " at " + last_ids_[key]);
  }

  const HostPort address_;
  const std::string keys_;
  std::map<std::string, std::string> last_ids_;
  std::chrono::steady_clock::time_point next_scan_{};
};

class PubSubSubscriber final : public SubscriberBase {
 public:
  PubSubSubscriber(const std::string& address, std::string channels)
      : SubscriberBase("redis_pubsub"), address_(split_address(address)), channels_(std::move(channels)) {
    start();
  }
  ~PubSubSubscriber() override { stop(); }

 protected:
  void run(std::stop_token stop) override {
    while (!stop.stop_requested()) {
      Context context = connect(address_, milliseconds(200));
      if (context != nullptr && command(context.get(), {"PSUBSCRIBE", channels_}) != nullptr) {
        set_ready();
        listen(context.get(), stop);
      }
      pause(stop, milliseconds(20));
    }
  }

 private:
  void listen(redisContext* context, std::stop_token stop) {
    while (!stop.stop_requested()) {
      void* raw = nullptr;
      if (redisGetReply(context, &raw) != REDIS_OK) {
        if (context->err != REDIS_ERR_IO || (errno != EAGAIN && errno != EWOULDBLOCK)) return;
        // Silence for the length of the read time-out; hiredis keeps what it has of a reply.
        context->err = 0;
        context->errstr[0] = '\0';
        continue;
      }
      const Reply reply(static_cast<redisReply*>(raw));
      if (reply == nullptr || reply->type != REDIS_REPLY_ARRAY || reply->elements != 4) continue;
      std::string error;
      auto event = decode_structured(text_of(reply->element[3]), &error);
      add(std::move(event), error);
    }
  }

  const HostPort address_;
  const std::string channels_;
};

}  // namespace

std::unique_ptr<Subscriber> subscribe_redis_streams(const std::string& address, const std::string& keys) {
  return std::make_unique<StreamsSubscriber>(address, keys);
}

std::unique_ptr<Subscriber> subscribe_redis_pubsub(const std::string& address, const std::string& channels) {
  return std::make_unique<PubSubSubscriber>(address, channels);
}

}  // namespace headgate::testing
