// The way of every event that is not a backlog's ordinary one: the script of stream_script.h, many in one pipeline that
// Redis works on while it is still being filled.
#pragma once

#include <deque>
#include <memory>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "sinks/encoding/cloud_event.h"
#include "sinks/redis/stream_batch.h"
#include "sinks/redis/stream_position.h"

namespace headgate::sinks {

// Not thread-safe. Waits as long as the connection's time-out for a batch.
class StreamScripts {
 public:
  StreamScripts(const Encoder& encoder, const RedisStreamsSettings& settings);

  // Gives the script to a server that was just connected to.
  Status load(Connection& connection, std::stop_token stop);
  // Sends what is left of these runs, all of which have this connection, and sets its outcome. A run whose keys are
  // elsewhere ends at what is not stored yet.
  void run(StreamBatch& batch, std::span<TenantRun> runs, Connection& connection, std::stop_token stop);

 private:
  // One script that was queued: the events [begin, end) of `run`.
  struct Sent {
    TenantRun* run;
    size_t begin;
    size_t end;
  };

  void append_run(StreamBatch& batch, TenantRun& run);
  size_t append_script(StreamBatch& batch, TenantRun& run, size_t begin);
  Status append_event(const Delivery& delivery, size_t slot, size_t& bytes);
  void add_field(std::string_view name, std::string_view value);
  void settle(StreamBatch& batch, const Sent& sent, const redisReply* reply);
  std::string_view keep(std::string text) { return texts_.emplace_back(std::move(text)); }

  const Encoder& encoder_;
  const RedisStreamsSettings& settings_;
  const std::string script_;
  std::string sha_;
  std::vector<Sent> sent_;
  Connection* connection_ = nullptr;  // of the call in progress
  // Of the script being put together; kept to save allocations.
  std::deque<std::string> texts_;
  std::vector<std::string_view> arguments_;
  std::vector<std::unique_ptr<Encoded>> encoded_;
  std::vector<std::string_view> shape_;  // of the event before; see stream_script.h
  std::vector<std::string_view> next_shape_;
  std::vector<std::string_view> own_values_;
};

// INVALID_ARGUMENT for an event that is larger than the settings allow.
Status check_size(const Encoded& encoded, size_t bytes_max);

}  // namespace headgate::sinks
