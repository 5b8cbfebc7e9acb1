// Somebody who may connect and nothing more: raw connections to the engine's port, from an address of the loopback of
// his own, and frames of HTTP/2 made by hand. And a client who comes meanwhile, and wants an answer.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "base/descriptor.h"

namespace headgate::testing {

class Stranger {
 public:
  // Connects; does not throw when that fails.
  explicit Stranger(int port, const std::string& from = "127.0.0.2");

  bool connected() const { return connected_; }
  // All of it. False when the other side hung up, or took nothing for two seconds.
  bool say(const std::string& bytes);
  // Reads and forgets what has come. False when the other side has hung up.
  bool listen();
  // True when the other side says something within `limit`.
  bool hears_within(std::chrono::milliseconds limit);
  // True when the other side hangs up within `limit`.
  bool ended_within(std::chrono::milliseconds limit);

 private:
  headgate::Descriptor socket_;
  bool connected_ = false;
};

namespace http2 {

enum Type : uint8_t {
  kData = 0,
  kHeaders = 1,
  kPriority = 2,
  kReset = 3,
  kSettings = 4,
  kPing = 6,
  kWindow = 8,
  kContinuation = 9
};
enum Flag : uint8_t { kNone = 0, kEndStream = 1, kEndHeaders = 4 };

// The first words of a client.
std::string preface();
std::string frame(Type type, uint8_t flags, uint32_t stream, const std::string& content);
// The fields of a call of the health service; without `path` it is none.
std::string fields(const std::string& path = "/grpc.health.v1.Health/Check");
// A field in words that no table keeps.
std::string field(const std::string& name, const std::string& value);

}  // namespace http2

// How long a client with a connection of its own waits for its answer; more than `limit` when there is none.
std::chrono::milliseconds time_of_new_client(const std::string& address, std::chrono::milliseconds limit);

}  // namespace headgate::testing
