// The connections that gRPC was given: how many there may be, and which of them are ended for what they do to the
// process.
//
// A second descriptor of each socket tells when gRPC has closed its own, and lets a connection be ended that gRPC does
// not get to, with TLS as well. One thread, which never runs any of gRPC's work; everything public is thread-safe.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "base/listening_socket.h"
#include "base/memory_limit.h"
#include "base/mutex.h"
#include "engine/api/memory_guard.h"
#include "engine/api/peer_limits.h"
#include "engine/api/self_call.h"
#include "engine/api/stranger_guard.h"
#include "engine/rpc/admitted_calls.h"

namespace headgate::engine {

struct ConnectionsSettings {
  ConnectionLimits limits;
  // See MemoryGuard; 0: nobody is ended for the process' memory, or because the port is deaf.
  size_t memory_rise_max = 96 << 20;
  // How long a connection may talk before a call of it is let in; 0: for ever.
  Duration first_call_timeout{30'000};
  AdmittedCalls* admitted = nullptr;    // borrowed; null: no call counts
  const MemoryWatch* memory = nullptr;  // borrowed; null: memory is never short
};

class Connections {
 public:
  // `self_call`: under way for long, it tells that gRPC gets to nothing.
  Connections(const ConnectionsSettings& settings, std::shared_ptr<SelfCall> self_call);
  ~Connections();
  Connections(const Connections&) = delete;
  Connections& operator=(const Connections&) = delete;

  // kNone: it counts, until it ends. kNoDescriptor: errno says why there is none. kNoMemory: memory is short.
  Refusal add(const Descriptor& socket, const PeerAddress& peer);
  size_t open() const { return open_; }
  uint64_t ended_for_memory() const { return ended_for_memory_; }
  uint64_t ended_without_call() const { return ended_without_call_; }

 private:
  struct Connection {
    Descriptor second;
    PeerAddress peer;
    uint32_t admitted_before = 0;
  };

  void run(std::stop_token stop);
  void look_for_harm();
  void look_for_strangers();
  Duration look_every() const;
  void forget(uint64_t id);
  std::vector<ConnectionUse> uses_locked() REQUIRES_LOCK(mutex_);
  ConnectionUse use_locked(uint64_t id, const Connection& connection) REQUIRES_LOCK(mutex_);
  // Its address is slowed down as well.
  void end_for_memory_locked(uint64_t id, const char* why, const char* help) REQUIRES_LOCK(mutex_);
  void end_locked(uint64_t id, const char* why, const char* help) REQUIRES_LOCK(mutex_);
  void forget_locked(uint64_t id) REQUIRES_LOCK(mutex_);
  uint32_t admitted_of(const PeerAddress& peer) const;

  const ConnectionsSettings settings_;
  const std::shared_ptr<SelfCall> self_call_;
  const Descriptor epoll_;
  const Descriptor wake_;
  // Of the thread, from here:
  MemoryGuard guard_;
  StrangerGuard strangers_;
  MonotonicTime next_look_{};
  MonotonicTime next_look_for_strangers_{};
  MonotonicTime next_room_{};

  std::atomic<size_t> open_{0};
  std::atomic<uint64_t> ended_for_memory_{0};
  std::atomic<uint64_t> ended_without_call_{0};

  Mutex mutex_;
  PeerLimits limits_ GUARDED_BY(mutex_);
  uint64_t last_id_ GUARDED_BY(mutex_);
  std::unordered_map<uint64_t, Connection> connections_ GUARDED_BY(mutex_);

  std::jthread thread_;
};

}  // namespace headgate::engine
