// One call of a client, whatever brought it here: what a handler may know of it and ask.
#pragma once

#include <chrono>
#include <stop_token>
#include <string>
#include <string_view>

#include "base/status.h"

namespace headgate::engine {

// How a caller has shown who it is.
struct Principal {
  std::string method;  // "preshared"; empty: nobody has to show anything
};

// Each edge implements it. Lives until the call is answered. Nothing blocks; all but add_trailer() is thread-safe.
class Call {
 public:
  using Time = std::chrono::system_clock::time_point;

  virtual ~Call() = default;

  // The client's address with its port, as gRPC names it: ipv4:10.0.0.1:4711.
  virtual std::string peer() const = 0;
  // gRPC's metadata or HTTP's header of a name in lower case; empty when there is none. Lives as long as the call.
  virtual std::string_view metadata(std::string_view name) const = 0;
  // Time::max(): none.
  virtual Time deadline() const = 0;
  // Stops when the client takes its call back or is gone, or gRPC ends the call at its deadline. What it calls back
  // must not block.
  virtual std::stop_token cancellation() const = 0;
  // Goes to the client behind the answer. By whoever makes the answer, before it is there.
  virtual void add_trailer(const std::string& name, const std::string& value) = 0;

  // OK while the client still waits, else CANCELLED or DEADLINE_EXCEEDED. Loops ask it between two steps.
  Status wanted() const;

  // Set by CallAdmission, before any handler sees the call.
  const Principal& principal() const { return principal_; }
  void set_principal(Principal principal) { principal_ = std::move(principal); }

 private:
  Principal principal_;
};

}  // namespace headgate::engine
