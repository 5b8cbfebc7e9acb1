// The demo's parts together: engine client, subscribers, ledger, and the commands over them.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "base/status.h"
#include "ops/demo/engine_client.h"
#include "ops/demo/ledger.h"
#include "ops/demo/story.h"
#include "tests/support/subscribers.h"

namespace headgate::demo {

// Where things are; an empty one is left out.
struct Places {
  std::string engine;
  std::string kafka;
  std::string kafka_topic = "headgate.permission-changes";
  std::string redis;
  std::string redis_streams = "headgate:*:changes";
  std::string redis_channels = "headgate:*";
  std::string nats;
  std::string nats_stream = "HEADGATE";
  std::string nats_stream_subject = "headgate.>";
  std::string nats_subject = "signal.>";
  std::string file;
};

// One thread; the subscribers have their own.
class Demo {
 public:
  explicit Demo(const Places& places);

  // One command line, as listed in main.cc. Prints for people.
  Status run(const std::string& line);

 private:
  void add(std::unique_ptr<testing::Subscriber> subscriber);
  void take(const std::string& sink, const testing::Received& received);

  Status ready();
  Status setup();
  Status write(int count);
  Status write_blind(int count);
  Status catch_up(int seconds);
  Status verdict();
  void show(const Transaction& transaction) const;

  const Places places_;
  Ledger ledger_;
  EngineClient engine_;
  Story story_;
  std::atomic<size_t> interruptions_ = 0;                          // GAPs that a kill of the relay makes due
  std::atomic<size_t> gaps_ = 0;                                   // marks of lost history; there must be none
  std::vector<std::unique_ptr<testing::Subscriber>> subscribers_;  // last: they end before what they use
};

}  // namespace headgate::demo
