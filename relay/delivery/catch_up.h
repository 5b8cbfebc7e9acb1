// A private stream for one sink that lost its place in the hub: its own session, its own small ring, its own thread.
#pragma once

#include <functional>
#include <memory>
#include <thread>
#include <utility>

#include "relay/delivery/session.h"

namespace headgate::relay {

class CatchUp {
 public:
  // Makes the session; everything but the ring and the place is the relay's business.
  using MakeSession = std::function<std::unique_ptr<Session>(Hub&, SourcePlace, const std::string& name)>;

  CatchUp(const MakeSession& make, SourcePlace start, const std::string& name, size_t bytes_max)
      : hub_(bytes_max), reader_(hub_.attach()), session_(make(hub_, std::move(start), name)) {
    thread_ = std::jthread([this](std::stop_token stop) { session_->run(stop); });
  }
  // Ends the stream; what was not read is given up.
  ~CatchUp() {
    thread_.request_stop();
    hub_.close();
  }

  HubReader& reader() { return *reader_; }
  bool ordered() const { return hub_.ordered(); }
  SessionStatus status() const { return session_->status(); }

 private:
  Hub hub_;
  std::unique_ptr<HubReader> reader_;
  std::unique_ptr<Session> session_;
  std::jthread thread_;
};

}  // namespace headgate::relay
