#include "tests/support/fault_proxy.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <deque>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <thread>
#include <utility>
#include <vector>

#include "tests/support/process.h"

namespace headgate::testing {

namespace {

using Clock = std::chrono::steady_clock;
using Time = Clock::time_point;

constexpr size_t kBuffered = 256 << 10;  // of one direction of one connection; then the sender waits
constexpr size_t kPiece = 16 << 10;
constexpr int kSocketBuffer = 128 << 10;  // small, so that senders soon feel a slow reader

sockaddr_in loopback(int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

int make_socket() {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) throw std::runtime_error("fault proxy: no socket");
  const int one = 1;
  ::setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &kSocketBuffer, sizeof kSocketBuffer);
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  return fd;
}

void close_with_reset(int fd) {
  const linger now{1, 0};
  ::setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
  ::close(fd);
}

bool would_block() { return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR || errno == EINPROGRESS; }

struct Piece {
  Time due;
  std::string data;
  size_t sent = 0;
};

// One direction of a connection: from sides[from] to sides[1 - from].
struct Pipe {
  std::deque<Piece> pieces;
  size_t buffered = 0;
  bool ended = false;     // the sender has closed its side
  bool told_end = false;  // and the receiver knows
  Time next_send{};       // by the limit of bytes a second
};

struct Connection {
  std::array<int, 2> sides{-1, -1};  // client, server
  std::array<Pipe, 2> pipes;         // to server, to client
  bool silent = false;               // has lost bytes: passes on nothing any more
};

struct Faults {
  std::chrono::milliseconds delay{0};
  size_t bytes_per_second = 0;
  bool frozen = false;
  bool refusing = false;
  bool half_open = false;
};

}  // namespace

class FaultProxy::Loop {
 public:
  explicit Loop(int target_port)
      : target_port_(target_port), listener_(make_socket()), wake_(::eventfd(0, EFD_NONBLOCK)) {
    const int one = 1;
    ::setsockopt(listener_, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    // A port that is asked for by its number stays bound when the listener is shut down; see change().
    for (int attempt = 0; port_ == 0; ++attempt) {
      const sockaddr_in address = loopback(free_port());
      if (::bind(listener_, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) {
        port_ = ntohs(address.sin_port);
      } else if (attempt == 20) {
        throw std::runtime_error("fault proxy: no port on the loopback");
      }
    }
    if (::listen(listener_, 256) != 0) throw std::runtime_error("fault proxy: cannot listen");
    thread_ = std::jthread([this](std::stop_token stop) { run(stop); });
  }

  ~Loop() {
    thread_.request_stop();
    wake();
    thread_.join();
    for (auto& connection : connections_) reset(*connection);
    ::close(listener_);
    ::close(wake_);
  }

  int port() const { return port_; }

  // Changes the faults; nothing is passed on meanwhile.
  template <typename Change>
  void change(Change&& with) {
    {
      std::lock_guard lock(mutex_);
      const bool refused = faults_.refusing;
      with(faults_);
      // The port stays ours: a listener that was shut down is bound all the same, and refuses.
      if (faults_.refusing && !refused) ::shutdown(listener_, SHUT_RDWR);
      if (!faults_.refusing && refused && ::listen(listener_, 256) != 0) {
        throw std::runtime_error("fault proxy: cannot listen again");
      }
    }
    wake();
  }

  void reset_all() {
    for (auto& connection : connections_) {
      if (connection->sides != std::array{-1, -1}) ++counters_.resets;
      reset(*connection);
    }
  }
  void silence_all() {
    for (auto& connection : connections_) silence(*connection);
  }

  void reset_after(Direction direction, size_t bytes) {
    std::lock_guard lock(mutex_);
    countdown_ = std::pair(direction, bytes);
  }
  bool reset_pending() const {
    std::lock_guard lock(mutex_);
    return countdown_.has_value();
  }

  Counters counters() const {
    std::lock_guard lock(mutex_);
    Counters now = counters_;
    now.open = static_cast<uint64_t>(std::ranges::count_if(connections_, [](const auto& connection) {
      return connection->sides != std::array{-1, -1};
    }));
    return now;
  }

 private:
  struct Watched {
    Connection* connection;
    int side;
  };

  void wake() {
    const uint64_t one = 1;
    (void)!::write(wake_, &one, sizeof one);
  }

  void run(std::stop_token stop) {
    std::vector<pollfd> fds;
    std::vector<Watched> watched;
    while (!stop.stop_requested()) {
      int timeout = 0;
      {
        std::lock_guard lock(mutex_);
        timeout = prepare(fds, watched);
      }
      ::poll(fds.data(), fds.size(), timeout);
      uint64_t ignored = 0;
      (void)!::read(wake_, &ignored, sizeof ignored);
      std::lock_guard lock(mutex_);
      for (size_t i = 2; i < fds.size(); ++i) {
        Connection& connection = *watched[i].connection;
        const int side = watched[i].side;
        // A call from outside may have closed it while we waited.
        if (connection.sides[side] != fds[i].fd || fds[i].revents == 0) continue;
        read_from(connection, side);
      }
      for (auto& connection : connections_) write_out(*connection);
      if ((fds[0].revents & POLLIN) != 0 && !faults_.refusing) accept_all();
    }
  }

  // What to wait for; returns for how long.
  int prepare(std::vector<pollfd>& fds, std::vector<Watched>& watched) {
    std::erase_if(connections_, [](const auto& connection) { return connection->sides == std::array{-1, -1}; });
    fds.assign({{faults_.refusing ? -1 : listener_, POLLIN, 0}, {wake_, POLLIN, 0}});
    watched.assign(2, {nullptr, 0});
    Time soonest = Clock::now() + std::chrono::seconds(10);
    for (auto& connection : connections_) {
      for (const int side : {0, 1}) {
        if (connection->sides[side] < 0) continue;
        const Pipe& out = connection->pipes[side];     // what this side sends
        const Pipe& in = connection->pipes[1 - side];  // what it is sent
        short events = 0;
        if (connection->silent || (!faults_.frozen && !out.ended && out.buffered < kBuffered)) events |= POLLIN;
        const bool waits = !in.pieces.empty() && !faults_.frozen && !connection->silent;
        const Time due = waits ? std::max(in.pieces.front().due, in.next_send) : Time::max();
        if (waits && due <= Clock::now()) events |= POLLOUT;
        if (waits && due > Clock::now()) soonest = std::min(soonest, due);
        fds.push_back({events == 0 ? -1 : connection->sides[side], events, 0});
        watched.push_back({connection.get(), side});
      }
    }
    const auto wait = std::chrono::ceil<std::chrono::milliseconds>(soonest - Clock::now()).count();
    return static_cast<int>(std::clamp<int64_t>(wait, 0, 10'000));
  }

  void accept_all() {
    for (;;) {
      const int client = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
      if (client < 0) return;
      const int one = 1;
      ::setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
      ++counters_.accepted;
      const int server = make_socket();
      const sockaddr_in address = loopback(target_port_);
      if (::connect(server, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 && !would_block()) {
        ::close(server);
        close_with_reset(client);
        continue;
      }
      connections_.push_back(std::make_unique<Connection>());
      connections_.back()->sides = {client, server};
      if (faults_.half_open) silence(*connections_.back());
    }
  }

  void read_from(Connection& connection, int side) {
    Pipe& pipe = connection.pipes[side];
    if (pipe.ended) return;
    std::array<char, kPiece> data;
    const ssize_t got = ::recv(connection.sides[side], data.data(), data.size(), 0);
    if (got < 0 && would_block()) return;
    if (got > 0 && connection.silent) {
      counters_.swallowed += static_cast<uint64_t>(got);
    } else if (got > 0) {
      pipe.pieces.push_back({Clock::now() + faults_.delay, std::string(data.data(), static_cast<size_t>(got))});
      pipe.buffered += static_cast<size_t>(got);
    } else if (connection.silent) {
      // The other side of a silent connection learns nothing of it.
      ::close(std::exchange(connection.sides[side], -1));
    } else if (got == 0) {
      pipe.ended = true;
    } else {
      reset(connection);
    }
  }

  void write_out(Connection& connection) {
    if (connection.silent || faults_.frozen) return;
    for (const int from : {0, 1}) {
      if (connection.sides[0] < 0) return;
      Pipe& pipe = connection.pipes[from];
      if (!send_pieces(connection, from, pipe)) return;
      if (pipe.ended && pipe.pieces.empty() && !std::exchange(pipe.told_end, true)) {
        ::shutdown(connection.sides[1 - from], SHUT_WR);
      }
    }
    if (connection.pipes[0].told_end && connection.pipes[1].told_end) close_both(connection);
  }

  // False when the connection is gone.
  bool send_pieces(Connection& connection, int from, Pipe& pipe) {
    while (!pipe.pieces.empty()) {
      Piece& piece = pipe.pieces.front();
      const Time now = Clock::now();
      if (std::max(piece.due, pipe.next_send) > now) return true;
      size_t want = piece.data.size() - piece.sent;
      if (faults_.bytes_per_second > 0) want = std::min(want, faults_.bytes_per_second / 50 + 1);
      const bool counted = countdown_ && countdown_->first == from;
      if (counted) want = std::min(want, countdown_->second);
      ssize_t sent = 0;
      if (want > 0) sent = ::send(connection.sides[1 - from], piece.data.data() + piece.sent, want, MSG_NOSIGNAL);
      if (sent < 0 && (would_block() || errno == ENOTCONN)) return true;
      if (sent < 0) {
        reset(connection);
        return false;
      }
      passed_on(from, pipe, static_cast<size_t>(sent), now);
      if (counted && (countdown_->second -= static_cast<size_t>(sent)) == 0) {
        countdown_.reset();
        ++counters_.resets;
        reset(connection);
        return false;
      }
    }
    return true;
  }

  void passed_on(int from, Pipe& pipe, size_t sent, Time now) {
    (from == kToServer ? counters_.to_server : counters_.to_client) += sent;
    pipe.buffered -= sent;
    Piece& piece = pipe.pieces.front();
    piece.sent += sent;
    if (piece.sent == piece.data.size()) pipe.pieces.pop_front();
    if (faults_.bytes_per_second == 0) return;
    const auto takes =
        std::chrono::duration<double>(static_cast<double>(sent) / static_cast<double>(faults_.bytes_per_second));
    pipe.next_send = now + std::chrono::duration_cast<Clock::duration>(takes);
  }

  void silence(Connection& connection) {
    connection.silent = true;
    for (Pipe& pipe : connection.pipes) {
      counters_.swallowed += pipe.buffered;
      pipe.pieces.clear();
      pipe.buffered = 0;
    }
    for (const int side : {0, 1}) {
      if (connection.pipes[side].ended) ::close(std::exchange(connection.sides[side], -1));
    }
  }

  static void reset(Connection& connection) {
    for (int& side : connection.sides) {
      if (side >= 0) close_with_reset(std::exchange(side, -1));
    }
  }
  static void close_both(Connection& connection) {
    for (int& side : connection.sides) ::close(std::exchange(side, -1));
  }

  const int target_port_;
  const int listener_;
  const int wake_;
  int port_ = 0;
  mutable std::mutex mutex_;  // guards everything below; not held while the thread waits
  Faults faults_;
  Counters counters_;
  std::optional<std::pair<Direction, size_t>> countdown_;
  std::vector<std::unique_ptr<Connection>> connections_;
  std::jthread thread_;
};

FaultProxy::FaultProxy(int target_port) : loop_(std::make_unique<Loop>(target_port)) {}
FaultProxy::~FaultProxy() = default;

int FaultProxy::port() const { return loop_->port(); }

void FaultProxy::delay(std::chrono::milliseconds each_way) {
  loop_->change([&](Faults& faults) { faults.delay = each_way; });
}
void FaultProxy::limit(size_t bytes_per_second) {
  loop_->change([&](Faults& faults) { faults.bytes_per_second = bytes_per_second; });
}
void FaultProxy::freeze() {
  loop_->change([](Faults& faults) { faults.frozen = true; });
}
void FaultProxy::cut() {
  loop_->change([this](Faults& faults) {
    faults.refusing = true;
    loop_->reset_all();
  });
}
void FaultProxy::half_open() {
  loop_->change([this](Faults& faults) {
    faults.half_open = true;
    loop_->silence_all();
  });
}
void FaultProxy::reset_after(Direction direction, size_t bytes) { loop_->reset_after(direction, bytes); }
bool FaultProxy::reset_pending() const { return loop_->reset_pending(); }
void FaultProxy::heal() {
  loop_->change([](Faults& faults) { faults = {}; });
}

FaultProxy::Counters FaultProxy::counters() const { return loop_->counters(); }

}  // namespace headgate::testing
