#include "engine/api/connections.h"

#include <fcntl.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include "base/log.h"
#include "base/memory.h"

namespace headgate::engine {
namespace {

constexpr uint64_t kWakeUp = 0;
constexpr int kEndedAtOnce = 64;
constexpr Duration kLookEvery{20}, kLookCloselyEvery{5};  // the latter while memory rises
constexpr Duration kSlowTerm{10'000};                     // for the address of who was ended
constexpr Duration kLookAnyway{100};
constexpr Duration kRoomEvery{100};  // what was ended needs time to go

ConnectionUse use_of(int socket) {
  tcp_info info{};
  socklen_t size = sizeof(info);
  ConnectionUse use;
  if (::getsockopt(socket, IPPROTO_TCP, TCP_INFO, &info, &size) != 0) return use;
  use.received = info.tcpi_bytes_received;
  use.sent = info.tcpi_bytes_acked;
  return use;
}

}  // namespace

Connections::Connections(const ConnectionsSettings& settings, std::shared_ptr<SelfCall> self_call)
    : settings_(settings),
      self_call_(std::move(self_call)),
      epoll_(::epoll_create1(EPOLL_CLOEXEC)),
      wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      guard_(settings.memory_rise_max, system_clock()),
      strangers_(settings.first_call_timeout, system_clock()),
      limits_(settings.limits, system_clock()),
      last_id_(kWakeUp) {
  HG_CHECK(epoll_.valid() && wake_.valid());
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = kWakeUp;
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, wake_.get(), &event);
  thread_ = std::jthread([this](std::stop_token stop) { run(stop); });
  pthread_setname_np(thread_.native_handle(), "connections");
}

Connections::~Connections() {
  thread_.request_stop();
  thread_.join();
}

Refusal Connections::add(const Descriptor& socket, const PeerAddress& peer) {
  if (settings_.memory != nullptr && settings_.memory->is_short()) return Refusal::kNoMemory;
  MutexLock lock(mutex_);
  if (const Refusal why = limits_.enter(peer.network); why != Refusal::kNone) return why;
  Descriptor second(::fcntl(socket.get(), F_DUPFD_CLOEXEC, 0));
  if (!second.valid()) {
    limits_.left(peer.network);
    return Refusal::kNoDescriptor;
  }
  const uint64_t id = ++last_id_;
  // Without events it still tells of a socket that is shut down on both sides, which is how gRPC ends one.
  epoll_event event{};
  event.events = EPOLLET;
  event.data.u64 = id;
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, second.get(), &event);
  connections_.emplace(id, Connection{std::move(second), peer, admitted_of(peer)});
  // In this order: the thread sleeps as long as there are none.
  open_ = limits_.open();
  if (open_ == 1) ::eventfd_write(wake_.get(), 1);
  return Refusal::kNone;
}

void Connections::run(std::stop_token stop) {
  const std::stop_callback on_stop(stop, [this] { ::eventfd_write(wake_.get(), 1); });
  while (!stop.stop_requested()) {
    const bool watching = open_ != 0;
    epoll_event events[kEndedAtOnce];
    const int count =
        ::epoll_wait(epoll_.get(), events, kEndedAtOnce, watching ? static_cast<int>(look_every().count()) : -1);
    for (int i = 0; i < count; ++i) {
      if (events[i].data.u64 != kWakeUp) {
        forget(events[i].data.u64);
      } else {
        eventfd_t ignored;
        ::eventfd_read(wake_.get(), &ignored);
      }
    }
    if (!watching) continue;
    if (settings_.memory_rise_max != 0 && system_clock().now() >= next_look_) look_for_harm();
    look_for_strangers();
  }
}

Duration Connections::look_every() const {
  if (settings_.memory_rise_max == 0) return kLookAnyway;
  return guard_.rise() > settings_.memory_rise_max / 16 ? kLookCloselyEvery : kLookEvery;
}

void Connections::look_for_harm() {
  next_look_ = system_clock().now() + look_every();
  const bool alarmed = guard_.look(resident_bytes(), self_call_ == nullptr ? Duration(0) : self_call_->unanswered());
  if (!alarmed && !guard_.window_over()) return;
  MutexLock lock(mutex_);
  const std::vector<ConnectionUse> all = uses_locked();
  if (guard_.window_over()) guard_.begin(all);
  if (!alarmed) return;
  const char* const why = guard_.deaf() ? "calls are not answered any more, and it sent most of what no call came of"
                                        : "memory rises, and it sent most of what no call came of";
  for (const uint64_t id : guard_.worst(all)) {
    end_for_memory_locked(id, why, "see server.memory_rise_max");
  }
}

void Connections::look_for_strangers() {
  const MonotonicTime now = system_clock().now();
  const bool make_room = settings_.memory != nullptr && settings_.memory->is_short() && now >= next_room_;
  const bool look = settings_.first_call_timeout.count() > 0 && now >= next_look_for_strangers_;
  if (!make_room && !look) return;
  MutexLock lock(mutex_);
  const std::vector<ConnectionUse> all = uses_locked();
  if (look) {
    next_look_for_strangers_ = now + strangers_.look_every();
    for (const uint64_t id : strangers_.late(all)) {
      ++ended_without_call_;
      end_locked(id, "it talks, and no call of it was let in", "see server.first_call_timeout");
    }
  }
  if (!make_room) return;
  next_room_ = now + kRoomEvery;
  for (const uint64_t id : StrangerGuard::to_make_room(all)) {
    end_for_memory_locked(id, "memory is short, and nothing came of what it sent", "see memory_short");
  }
}

std::vector<ConnectionUse> Connections::uses_locked() {
  std::vector<ConnectionUse> all;
  all.reserve(connections_.size());
  for (const auto& [id, connection] : connections_) {
    all.push_back(use_locked(id, connection));
  }
  return all;
}

ConnectionUse Connections::use_locked(uint64_t id, const Connection& connection) {
  ConnectionUse use = use_of(connection.second.get());
  use.id = id;
  use.peer = std::hash<std::string>()(connection.peer.network);
  use.admitted = admitted_of(connection.peer) - connection.admitted_before;
  return use;
}

uint32_t Connections::admitted_of(const PeerAddress& peer) const {
  return settings_.admitted == nullptr ? 0 : settings_.admitted->of(peer);
}

void Connections::end_for_memory_locked(uint64_t id, const char* why, const char* help) {
  const auto at = connections_.find(id);
  if (at == connections_.end()) return;
  ++ended_for_memory_;
  limits_.slow_down(at->second.peer.network, kSlowTerm);
  end_locked(id, why, help);
}

void Connections::end_locked(uint64_t id, const char* why, const char* help) {
  const auto at = connections_.find(id);
  if (at == connections_.end()) return;
  const Connection& one = at->second;
  log_warn("connection_ended", {{"peer", one.peer.host},
                                {"why", why},
                                {"received_bytes", use_of(one.second.get()).received},
                                {"rise_bytes", guard_.rise()},
                                {"help", help}});
  // Disconnects at once, together with what waits to be read; shutdown(2) alone would leave that to gRPC.
  sockaddr nobody{};
  nobody.sa_family = AF_UNSPEC;
  ::connect(one.second.get(), &nobody, sizeof(nobody));
  ::shutdown(one.second.get(), SHUT_RDWR);
  forget_locked(id);
}

void Connections::forget(uint64_t id) {
  MutexLock lock(mutex_);
  forget_locked(id);
}

void Connections::forget_locked(uint64_t id) {
  const auto at = connections_.find(id);
  if (at == connections_.end()) return;
  limits_.left(at->second.peer.network);
  guard_.left(use_locked(id, at->second));
  connections_.erase(at);
  open_ = limits_.open();
}

}  // namespace headgate::engine
