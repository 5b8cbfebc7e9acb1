// One connection to Redis that never blocks for longer than asked: hiredis on a non-blocking socket, and poll().
#pragma once

#include <hiredis/hiredis.h>

#include <memory>
#include <span>
#include <stop_token>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "sinks/redis/resp.h"
#include "sinks/redis/settings.h"

namespace headgate::sinks {

struct ReplyDeleter {
  void operator()(redisReply* reply) const { freeReplyObject(reply); }
};
using Reply = std::unique_ptr<redisReply, ReplyDeleter>;

// Not thread-safe. After an error that is not a reply the connection is closed; open() makes a new one.
class RedisConnection {
 public:
  explicit RedisConnection(RedisConnectionSettings settings) : settings_(std::move(settings)) {}

  // Connects, authenticates and selects the database.
  Status open(std::stop_token stop);
  void close() { context_.reset(); }
  bool is_open() const { return context_ != nullptr; }

  // Queues commands; nothing is sent yet.
  void append(std::span<const std::string_view> arguments);
  void append(const RespCommands& commands);
  // Sends of what is queued as much as goes without waiting, so that the server works while more is being queued.
  // Errors are found by exchange().
  void push();
  // Sends what is queued and awaits all replies. Error replies are replies: look at their type.
  // On failure `replies` holds those that did arrive, and the connection is closed.
  Status exchange(std::vector<Reply>& replies, std::stop_token stop);
  // One command and its reply; an error reply becomes a status.
  StatusOr<Reply> command(std::span<const std::string_view> arguments, std::stop_token stop);

 private:
  struct ContextDeleter {
    void operator()(redisContext* context) const { redisFree(context); }
  };

  Status connect(std::stop_token stop);
  Status transfer(std::vector<Reply>& replies, MonotonicTime deadline, std::stop_token stop);
  Status await(short events, MonotonicTime deadline, std::stop_token stop) const;
  std::string address() const;

  const RedisConnectionSettings settings_;
  std::unique_ptr<redisContext, ContextDeleter> context_;
  size_t queued_ = 0;
  // Of append(), kept to save allocations.
  std::vector<const char*> texts_;
  std::vector<size_t> lengths_;
};

// INVALID_ARGUMENT for settings that this library cannot serve.
Status check_redis_settings(const RedisConnectionSettings& settings);

// UNAVAILABLE for LOADING, READONLY, MASTERDOWN, CLUSTERDOWN ..., RESOURCE_EXHAUSTED for OOM and MISCONF,
// FAILED_PRECONDITION for FENCED (our scripts), else INVALID_ARGUMENT.
Status status_of_error(std::string_view text);

}  // namespace headgate::sinks
