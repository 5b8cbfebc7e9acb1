// The gRPC services of the change feed: base.v1.Watch (as Permify's clients know it) and headgate.v1.Feed (all tenants
// or a set of them on one stream, for relays).
//
// Register both services with the server, and call drain() before grpc::Server::Shutdown(). All methods are
// thread-safe. The services borrow the feed, which must outlive the server.
#pragma once

#include <grpcpp/grpcpp.h>
#include <grpcpp/impl/codegen/service_type.h>

#include <memory>
#include <optional>

#include "base/clock.h"
#include "engine/feed/feed.h"
#include "engine/rpc/call_runner.h"
#include "engine/rpc/methods.h"

namespace headgate::engine {

// What the feed tells of the sizes of its messages, as headgate.v1.Limits.
struct FeedLimits {
  size_t attribute_json_bytes_max = 0;
  size_t part_bytes_max = 0;
  size_t part_json_bytes_max = 0;
};

struct WatchSettings {
  // False: base.v1.Watch ends every stream at once with OK and no message, as Permify does without its Watch.
  bool enabled = true;
  // Messages handed to one stream and not yet taken by the network: the bound of Permify's database.watch_buffer_size.
  int buffer_messages = 100;
  size_t buffer_bytes = 4 << 20;
  // Streams of both services together; one more is RESOURCE_EXHAUSTED.
  int streams_max = 10'000;
  // Stream opens per client address.
  double opens_per_second = 50;
  double opens_burst = 200;
  // Shortest heartbeat a client may ask for.
  Duration heartbeat_min{100};
  FeedLimits limits{};
  // Borrowed: admits streams as any other call, and runs the unary one. Null: everybody may do anything.
  CallRunner* calls = nullptr;
  // Not set: UNIMPLEMENTED.
  std::optional<SnapshotMethod> read_snapshot;
};

struct WatchStats {
  int watch_streams = 0;
  int feed_streams = 0;
  uint64_t opened = 0;
  uint64_t refused = 0;  // by admission
  uint64_t failed = 0;   // ended with an error of ours, not by the client
  uint64_t messages = 0;
  uint64_t bytes = 0;
};

class WatchServices {
 public:
  virtual ~WatchServices() = default;
  virtual grpc::Service& watch() = 0;
  virtual grpc::Service& feed() = 0;
  virtual WatchStats stats() const = 0;
  // Ends every stream with UNAVAILABLE and a google.rpc.RetryInfo; the ends and the retry delays are spread over
  // `window`. New streams are refused from here on. Blocks until all streams have ended, at most a second longer than
  // `window`.
  virtual void drain(Duration window) = 0;
};

std::unique_ptr<WatchServices> make_watch_services(Feed& feed, WatchSettings settings = {});

}  // namespace headgate::engine
