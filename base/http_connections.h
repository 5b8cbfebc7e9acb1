// The connections of the HTTP server: whoever is slow, silent or many costs a place here and never a thread.
//
// One thread reads requests whole and writes answers out, as fast as each client takes them; workers only ever see a
// whole request. When no place is free, the client who has waited longest for himself (has not sent his request, or
// does not take his answer) makes room for the next one.
#pragma once

#include <atomic>
#include <deque>
#include <functional>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "base/listening_socket.h"
#include "base/mutex.h"

namespace headgate {

struct HttpConnectionsSettings {
  int threads = 4;
  size_t connections_max = 128;
  size_t header_bytes_max = 16 * 1024;
  size_t body_bytes_max = 64 * 1024;
  Duration request_time{2'000};  // for the whole of it
  Duration answer_time{5'000};   // for a client to take it
};

class HttpConnections {
 public:
  // A request with all of its bytes, or what has come of it in time; the answer, which ends the connection. On one of
  // the worker threads.
  using Answer = std::function<std::string(const std::string& request)>;

  HttpConnections(ListeningSocket socket, HttpConnectionsSettings settings, Answer answer);
  // Waits for requests that are being answered.
  ~HttpConnections();
  HttpConnections(const HttpConnections&) = delete;
  HttpConnections& operator=(const HttpConnections&) = delete;

  int port() const { return port_; }
  size_t open() const { return open_; }
  // Clients that had to make room, were refused, or were too slow.
  uint64_t ended() const { return ended_; }

 private:
  enum class Phase { kReading, kAnswering, kWriting, kLeaving };
  struct Connection {
    Descriptor socket;
    Phase phase = Phase::kReading;
    std::string bytes;  // what came, then what goes
    size_t written = 0;
    MonotonicTime until{};  // of the phase
    MonotonicTime since{};
  };
  using Connections = std::unordered_map<uint64_t, Connection>;

  void run(std::stop_token stop);
  void work(std::stop_token stop);
  void accept_some();
  bool make_room();
  void on_readable(Connections::iterator at);
  // Whether all that is needed to answer has come.
  bool whole(const std::string& bytes) const;
  void hand_over(Connections::iterator at);
  void take_answers();
  void answer(Connections::iterator at, std::string text);
  void on_writable(Connections::iterator at);
  void end_late();
  void erase(Connections::iterator at);
  Duration until_next() const;

  const HttpConnectionsSettings settings_;
  const Answer answer_;
  ListeningSocket socket_;
  const int port_;
  Descriptor epoll_;
  Descriptor wake_;
  Connections connections_;
  uint64_t last_id_;
  std::atomic<size_t> open_{0};
  std::atomic<uint64_t> ended_{0};

  Mutex mutex_;
  Condition requested_;
  // As many as there are connections at most.
  std::deque<std::pair<uint64_t, std::string>> requests_ GUARDED_BY(mutex_);
  std::vector<std::pair<uint64_t, std::string>> answers_ GUARDED_BY(mutex_);

  std::vector<std::jthread> workers_;
  std::jthread thread_;
};

}  // namespace headgate
