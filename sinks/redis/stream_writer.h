// A batch into the streams, wherever their keys are: finds the server of each tenant, sends by transaction and script,
// and follows slots that move while it does.
#pragma once

#include <span>
#include <stop_token>

#include "base/redis/client.h"
#include "sinks/redis/stream_batch.h"
#include "sinks/redis/stream_scripts.h"
#include "sinks/redis/stream_transaction.h"

namespace headgate::sinks {

// Between two looks at a slot that is on its way to another server.
inline constexpr Duration kMovingPause{20};

// Not thread-safe. Waits for a slot that is on its way for as long as one command may take.
class StreamWriter {
 public:
  StreamWriter(redis::Client& client, const LookScript& looks, const Encoder& encoder,
               const RedisStreamsSettings& settings)
      : client_(client), transactions_(looks, encoder, settings), scripts_(encoder, settings) {}

  // Gives the script to a server that was just connected to.
  Status load(Connection& connection, std::stop_token stop);
  // Sets the outcome of the whole batch. Closes the client when only open() and a look at what is there can help.
  void run(StreamBatch& batch, std::stop_token stop);

 private:
  enum class Next { kDone, kAgain, kWait };

  void find_servers(StreamBatch& batch, std::stop_token stop);
  void send(StreamBatch& batch, bool first, std::stop_token stop);
  // Where the runs are that were not where they were sought.
  Next follow(StreamBatch& batch, std::stop_token stop);
  bool follow(StreamBatch& batch, TenantRun& run, std::stop_token stop);

  redis::Client& client_;
  StreamTransactions transactions_;
  StreamScripts scripts_;
};

}  // namespace headgate::sinks
