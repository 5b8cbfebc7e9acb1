// The TCP side of gRPC's port: takes connections, within limits, and hands them over.
//
// gRPC 1.51 gives its own listener up when descriptors run out, and bounds neither connections nor what one of them may
// cost (ops/decisions/0016). One thread; it runs a part of gRPC's work with each connection that it hands over, so what
// ends connections has another (connections.h). Everything public is thread-safe.
#pragma once

#include <array>
#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "base/listening_socket.h"
#include "engine/api/connections.h"

namespace headgate::engine {

struct ListenerSettings {
  std::string address = "0.0.0.0";
  int port = 0;
  ConnectionsSettings connections;
  // Descriptors that the rest of the process needs. Two thirds of the others may be connections, at two each.
  size_t reserved_descriptors = 128;
  // What is sent and not acknowledged for so long ends a connection.
  Duration unacknowledged_max{20'000};
};

struct ListenerStats {
  size_t open = 0;
  size_t room = 0;  // connections there may be
  uint64_t accepted = 0;
  std::array<uint64_t, kRefusalNames.size()> refused{};  // by Refusal
  uint64_t ended_for_memory = 0;
  uint64_t ended_without_call = 0;
  bool short_of_resources = false;
};

class Listener {
 public:
  // Takes the socket. `own`: of a SelfCall.
  using HandOver = std::function<void(Descriptor socket, bool own)>;

  // Binds; clients wait until start(). UNAVAILABLE when the address cannot be bound.
  static StatusOr<std::unique_ptr<Listener>> open(const ListenerSettings& settings);
  ~Listener();
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;

  int port() const { return port_; }
  // `hand_over` runs on the listener's thread, must not block, and is not called any more once stop() has returned.
  void start(HandOver hand_over);
  // Takes no more; clients that wait are refused. Connections stay. May be called twice.
  void stop();
  ListenerStats stats() const;
  const std::shared_ptr<SelfCall>& self_call() const { return self_call_; }

 private:
  Listener(ListeningSocket socket, const ListenerSettings& settings);
  void run(std::stop_token stop);
  // True when somebody may still wait.
  bool accept_some();
  void take(ListeningSocket::Accepted client);
  void tell_refused(Refusal why);

  const ListenerSettings settings_;
  ListeningSocket socket_;  // of the thread, from start() to stop()
  const int port_;
  const std::shared_ptr<SelfCall> self_call_;
  HandOver hand_over_;
  const Descriptor epoll_;
  const Descriptor wake_;
  MonotonicTime refusal_told_{};

  std::atomic<uint64_t> accepted_{0};
  std::array<std::atomic<uint64_t>, kRefusalNames.size()> refused_{};
  std::atomic<uint64_t> sent_away_{0};
  std::atomic<bool> short_of_resources_{false};
  Connections connections_;
  std::jthread thread_;
};

// Raises this process' soft limit of descriptors to `wanted`, as far as the hard one allows. The limit then.
size_t raise_descriptor_limit(size_t wanted);

}  // namespace headgate::engine
