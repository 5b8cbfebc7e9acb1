// A non-blocking stream socket whose waits have an end: a deadline, and a stop token that is looked at every 50 ms.
#pragma once

#include <stop_token>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/redis/settings.h"

namespace headgate::redis {

// When to give up.
struct Patience {
  MonotonicTime deadline;
  std::stop_token stop;
};

// Not thread-safe. Never raises SIGPIPE.
class Socket {
 public:
  Socket() = default;
  ~Socket() { close(); }
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;

  // Resolves the name and tries its addresses in turn, until one answers. UNAVAILABLE, CANCELLED.
  Status connect(const Address& address, const Patience& patience);
  Status connect_unix(const std::string& path);
  void close();
  bool is_open() const { return fd_ >= 0; }

  // How much went without waiting. UNAVAILABLE when the connection is gone.
  StatusOr<size_t> send(std::string_view data);
  // What is there, added to `data`. UNAVAILABLE when the server has hung up.
  Status receive(std::string& data);
  // Until it may be read, or with `write` also written. DEADLINE_EXCEEDED, CANCELLED.
  Status await(bool write, const Patience& patience) const;

 private:
  int fd_ = -1;
};

}  // namespace headgate::redis
