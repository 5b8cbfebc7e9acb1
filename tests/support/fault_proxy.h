// A TCP proxy on the loopback whose network a test can break at any moment.
//
//   FaultProxy proxy(redis.port());      // clients connect to proxy.port()
//   proxy.cut();                         // every connection is reset, new ones are refused
//   proxy.heal();
//
// One thread forwards everything. Calls are thread-safe and have taken effect when they return. Faults add up until
// heal(); the constructor throws std::runtime_error when there is no port to be had.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

namespace headgate::testing {

class FaultProxy {
 public:
  enum Direction { kToServer, kToClient };
  struct Counters {
    uint64_t accepted = 0;   // connections
    uint64_t open = 0;       // connections of which at least one side still stands
    uint64_t resets = 0;     // by cut() and reset_after()
    uint64_t to_server = 0;  // bytes that were passed on
    uint64_t to_client = 0;
    uint64_t swallowed = 0;  // bytes that vanished
  };

  explicit FaultProxy(int target_port);
  // Resets what is open.
  ~FaultProxy();
  FaultProxy(const FaultProxy&) = delete;
  FaultProxy& operator=(const FaultProxy&) = delete;

  int port() const;
  std::string address() const { return "127.0.0.1:" + std::to_string(port()); }

  // Every piece of data arrives so much later, each way.
  void delay(std::chrono::milliseconds each_way);
  // Each connection and direction carries no more; senders then wait for room, as with a slow reader.
  void limit(size_t bytes_per_second);
  // Nothing is read any more, so that senders run against full buffers; nothing is lost.
  void freeze();
  // Resets all connections and refuses new ones.
  void cut();
  // Bytes vanish, both ways, while connections stay open and new ones are accepted. A connection that stood or came
  // meanwhile stays silent for ever, also after heal(): only who notices and connects again goes on.
  void half_open();
  // Resets one connection as soon as `bytes` more were passed on in this direction by all together: in the middle of a
  // message, when the number says so. Happens once, then all is well.
  void reset_after(Direction direction, size_t bytes);
  // True when a reset_after() still waits for its bytes.
  bool reset_pending() const;
  // Connections go on as before, except those that lost bytes.
  void heal();

  Counters counters() const;

 private:
  class Loop;
  std::unique_ptr<Loop> loop_;
};

}  // namespace headgate::testing
