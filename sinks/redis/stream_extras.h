// What stands beside the events: the index that says which streams there are, and heartbeats.
#pragma once

#include <functional>
#include <map>
#include <set>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "base/redis/client.h"
#include "sinks/encoding/cloud_event.h"
#include "sinks/redis/stream_batch.h"
#include "sinks/redis/stream_position.h"

namespace headgate::sinks {

// Streams are listed before their first entry, so that whoever reads the index and then its news misses none.
// Not thread-safe.
class StreamIndex {
 public:
  StreamIndex(redis::Client& client, const StreamRoutes& routes) : client_(client), routes_(routes) {}

  // Lists the shared streams. UNAVAILABLE when their number is another than the one they were made with.
  Status opened(std::stop_token stop);
  // Those of the batch that are new in this connection.
  Status add(StreamBatch& batch, std::stop_token stop);
  // All tenants that have ever had an event here, as far as the index tells.
  StatusOr<std::set<std::string>> tenants(std::stop_token stop);
  // It has entries, and so it was listed once.
  void know(const StreamKeys& keys) { streams_[keys.stream] = keys.shared() ? keys.birth : keys.position; }
  // What was seen since opened(); with each the key that its heartbeats need.
  const std::map<std::string, std::string>& streams() const { return streams_; }

 private:
  using Take = std::function<void(std::string_view)>;
  // Every member of a set, or every name in a hash.
  Status scan(const char* command, const std::string& key, const Take& take, std::stop_token stop);
  Status list(const std::vector<std::string>& names, std::stop_token stop);

  redis::Client& client_;
  const StreamRoutes& routes_;
  std::map<std::string, std::string> streams_;
  std::set<std::string> listed_;
};

// Not thread-safe.
class StreamHeartbeats {
 public:
  StreamHeartbeats(redis::Client& client, const StreamRoutes& routes, const Encoder& encoder,
                   const RedisStreamsSettings& settings)
      : client_(client), routes_(routes), encoder_(encoder), settings_(settings) {}

  // Gives the script to a server that was just connected to.
  Status load(Connection& connection, std::stop_token stop);
  // To the streams of the tenants named, or to each of `streams`. Waits once for each server.
  Status send(const Heartbeat& heartbeat, const std::map<std::string, std::string>& streams, std::stop_token stop);

 private:
  // `beside`: the position hash, or the birth mark.
  Status append(const Delivery& delivery, const std::string& stream, const std::string& beside, std::stop_token stop);
  Status exchange(std::stop_token stop);

  redis::Client& client_;
  const StreamRoutes& routes_;
  const Encoder& encoder_;
  const RedisStreamsSettings& settings_;
  std::string sha_;
  std::set<Connection*> servers_;  // of the call in progress
};

}  // namespace headgate::sinks
