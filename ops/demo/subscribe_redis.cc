#include <fmt/format.h>
#include <hiredis/hiredis.h>

#include "base/clock.h"
#include "ops/demo/subscriber.h"

namespace headgate::demo {
namespace {

using Connection = std::unique_ptr<redisContext, decltype(&redisFree)>;
using Reply = std::unique_ptr<redisReply, decltype(&freeReplyObject)>;

Connection connect(const std::string& address) {
  const size_t colon = address.rfind(':');
  const timeval timeout{.tv_sec = 1, .tv_usec = 0};
  const std::string host = address.substr(0, colon);
  Connection connection(redisConnectWithTimeout(host.c_str(), std::stoi(address.substr(colon + 1)), timeout),
                        &redisFree);
  if (connection != nullptr && connection->err == 0) redisSetTimeout(connection.get(), timeout);
  return connection;
}

std::string text_of(const redisReply* reply) {
  return reply->str == nullptr ? "" : std::string(reply->str, reply->len);
}

Reply command(redisContext* connection, const std::vector<std::string>& words) {
  std::vector<const char*> texts;
  std::vector<size_t> sizes;
  for (const std::string& word : words) {
    texts.push_back(word.data());
    sizes.push_back(word.size());
  }
  void* reply = redisCommandArgv(connection, static_cast<int>(words.size()), texts.data(), sizes.data());
  return Reply(static_cast<redisReply*>(reply), &freeReplyObject);
}

void take_entry(const redisReply* fields, Inbox& inbox) {
  Envelope envelope;
  for (size_t i = 0; i + 1 < fields->elements; i += 2) {
    std::string name = text_of(fields->element[i]);
    if (name.starts_with("ce_") || name.starts_with("ce-")) name = name.substr(3);
    if (name == "content-type") name = "datacontenttype";
    if (name == "data") {
      envelope.data = text_of(fields->element[i + 1]);
    } else {
      envelope.attributes[name] = text_of(fields->element[i + 1]);
    }
  }
  inbox.take(envelope);
}

// The reply of XREAD: [[key, [[id, [field, value, …]], …]], …]. Moves `last` on.
void take_streams(const redisReply* reply, std::map<std::string, std::string>& last, Inbox& inbox) {
  for (size_t i = 0; i < reply->elements; ++i) {
    const redisReply* stream = reply->element[i];
    const redisReply* entries = stream->element[1];
    for (size_t k = 0; k < entries->elements; ++k) {
      last[text_of(stream->element[0])] = text_of(entries->element[k]->element[0]);
      take_entry(entries->element[k]->element[1], inbox);
    }
  }
}

std::vector<std::string> xread(const std::map<std::string, std::string>& last) {
  std::vector<std::string> words = {"XREAD", "COUNT", "500", "BLOCK", "200", "STREAMS"};
  for (const auto& [key, id] : last) words.push_back(key);
  for (const auto& [key, id] : last) words.push_back(id);
  return words;
}

}  // namespace

Subscriber subscribe_redis_streams(const std::string& address, const std::vector<std::string>& keys, Inbox& inbox) {
  return Subscriber([=, &inbox](std::stop_token stop) {
    std::map<std::string, std::string> last;
    for (const std::string& key : keys) last[key] = "0";
    Connection connection = connect(address);
    inbox.subscribed();
    while (!stop.stop_requested()) {
      if (connection == nullptr || connection->err != 0) {
        system_clock().sleep(Duration(100), stop);
        connection = connect(address);
        continue;
      }
      const Reply reply = command(connection.get(), xread(last));
      if (reply != nullptr && reply->type == REDIS_REPLY_ARRAY) take_streams(reply.get(), last, inbox);
    }
  });
}

Subscriber subscribe_redis_channels(const std::string& address, const std::string& pattern, Inbox& inbox) {
  return Subscriber([=, &inbox](std::stop_token stop) {
    Connection connection(nullptr, &redisFree);
    while (!stop.stop_requested()) {
      if (connection == nullptr || connection->err != 0) {
        connection = connect(address);
        if (connection == nullptr || connection->err != 0 || !command(connection.get(), {"PSUBSCRIBE", pattern})) {
          system_clock().sleep(Duration(100), stop);
          continue;
        }
        // A subscriber may be silent for long; a short time-out lets the thread look at its stop token.
        const timeval timeout{.tv_sec = 0, .tv_usec = 200'000};
        redisSetTimeout(connection.get(), timeout);
        inbox.subscribed();
      }
      void* raw = nullptr;
      if (redisGetReply(connection.get(), &raw) != REDIS_OK) {
        // hiredis marks the connection after a time-out too, but it is still good.
        if (connection->err == REDIS_ERR_IO && errno == EAGAIN) {
          connection->err = 0;
          connection->errstr[0] = '\0';
        }
        continue;
      }
      const Reply reply(static_cast<redisReply*>(raw), &freeReplyObject);
      if (reply->type == REDIS_REPLY_ARRAY && reply->elements == 4) inbox.take_structured(text_of(reply->element[3]));
    }
  });
}

}  // namespace headgate::demo
