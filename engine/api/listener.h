// The TCP side of gRPC's port: takes connections, within limits, and hands them over.
//
// gRPC 1.51 gives its own listener up when descriptors run out, and bounds neither connections nor what one of them may
// cost (ops/decisions/0016). This one goes on, and keeps a second descriptor of each socket, by which it can end a
// connection that gRPC no longer gets to, with TLS as well.
//
// One thread; everything public is thread-safe.
#pragma once

#include <array>
#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <unordered_map>

#include "base/listening_socket.h"
#include "engine/api/admitted_calls.h"
#include "engine/api/memory_guard.h"
#include "engine/api/peer_limits.h"
#include "engine/api/self_call.h"

namespace headgate::engine {

struct ListenerSettings {
  std::string address = "0.0.0.0";
  int port = 0;
  ConnectionLimits limits;
  // Descriptors that the rest of the process needs. Two thirds of the others may be connections, at two each.
  size_t reserved_descriptors = 128;
  // What is sent and not acknowledged for so long ends a connection.
  Duration unacknowledged_max{20'000};
  // See MemoryGuard; 0: nobody is ended for the process' memory.
  size_t memory_rise_max = 96 << 20;
  AdmittedCalls* admitted = nullptr;  // borrowed; null: no call counts
};

struct ListenerStats {
  size_t open = 0;
  size_t room = 0;  // connections there may be
  uint64_t accepted = 0;
  std::array<uint64_t, kRefusalNames.size()> refused{};  // by Refusal
  uint64_t sent_away = 0;                                // for want of descriptors
  uint64_t ended_for_memory = 0;
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
  struct Connection {
    Descriptor socket;  // gRPC has closed its own when this one hangs up
    PeerAddress peer;
    uint32_t admitted_before = 0;
  };

  Listener(ListeningSocket socket, const ListenerSettings& settings, ConnectionLimits limits);
  void run(std::stop_token stop);
  // True when somebody may still wait.
  bool accept_some();
  void take(ListeningSocket::Accepted client);
  void forget(uint64_t id);
  // Looks whether memory rises without reason, and ends who made it.
  void guard_memory();
  std::vector<ConnectionUse> uses();
  uint32_t admitted_of(const PeerAddress& peer) const;
  void end_for_memory(uint64_t id);
  void count_refused(Refusal why);

  const ListenerSettings settings_;
  const size_t room_;
  ListeningSocket socket_;  // of the thread, from start() to stop()
  const int port_;
  const std::shared_ptr<SelfCall> self_call_;
  HandOver hand_over_;
  PeerLimits limits_;
  MemoryGuard guard_;
  MonotonicTime next_look_{};
  std::unordered_map<uint64_t, Connection> connections_;
  uint64_t last_id_ = 0;
  Descriptor epoll_;
  Descriptor wake_;

  std::atomic<size_t> open_{0};
  std::atomic<uint64_t> accepted_{0};
  std::array<std::atomic<uint64_t>, kRefusalNames.size()> refused_{};
  std::atomic<uint64_t> sent_away_{0};
  std::atomic<uint64_t> ended_for_memory_{0};
  std::atomic<bool> short_of_resources_{false};
  MonotonicTime refusal_told_{};
  std::jthread thread_;
};

// Raises this process' soft limit of descriptors to `wanted`, as far as the hard one allows. The limit then.
size_t raise_descriptor_limit(size_t wanted);

}  // namespace headgate::engine
