// Somebody who may connect and nothing more: raw connections to the engine's port, from an address of the loopback of
// his own, and frames of HTTP/2 made by hand. And a client who comes meanwhile, and wants an answer.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

#include "base/descriptor.h"

struct ssl_st;

namespace headgate::testing {

// One that signs itself, for "localhost", made with the openssl program.
class Certificate {
 public:
  explicit Certificate(const std::string& folder);
  bool made() const { return made_; }
  // What an engine needs to serve with it.
  std::string yaml() const { return "tls:\n  certificate: " + path_ + ".pem\n  key: " + path_ + ".key\n"; }
  // For a client that trusts it.
  std::string pem() const;

 private:
  const std::string path_;
  bool made_ = false;
};

class Stranger {
 public:
  // Connects; does not throw when that fails. With `tls` he trusts everybody.
  explicit Stranger(int port, const std::string& from = "127.0.0.2", bool tls = false);

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
  struct EndTls {
    void operator()(ssl_st* tls) const;
  };

  bool shake_hands();
  // Bytes taken or given; 0: nothing now, below 0: over.
  ssize_t write_some(const char* bytes, size_t count);
  ssize_t read_some(char* bytes, size_t count);

  headgate::Descriptor socket_;
  std::unique_ptr<ssl_st, EndTls> tls_;
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

// Of an address "host:port".
int port_of(const std::string& address);

// How long a client with a connection of its own waits for its answer; more than `limit` when there is none. By TLS
// when there is a certificate to trust.
std::chrono::milliseconds time_of_new_client(const std::string& address, std::chrono::milliseconds limit,
                                             const std::string& trusted_pem = "");

}  // namespace headgate::testing
