#include "engine/api/listener.h"

#include <fcntl.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>

#include <algorithm>

#include "base/log.h"
#include "base/memory.h"

namespace headgate::engine {
namespace {

constexpr uint64_t kListening = 0, kWake = 1;  // ids of connections begin behind them
constexpr int kAcceptedAtOnce = 64;            // before it looks for connections that have ended
constexpr Duration kAgainWhenShort{10};
constexpr Duration kTellRefusalsEvery{10'000};
constexpr Duration kLookEvery{20};     // at memory, while there are connections
constexpr Duration kSlowTerm{10'000};  // for the address of who was ended

ConnectionUse use_of(int socket) {
  tcp_info info{};
  socklen_t size = sizeof(info);
  ConnectionUse use;
  if (::getsockopt(socket, IPPROTO_TCP, TCP_INFO, &info, &size) != 0) return use;
  use.received = info.tcpi_bytes_received;
  use.sent = info.tcpi_bytes_acked;
  return use;
}

void watch(const Descriptor& epoll, const Descriptor& socket, uint32_t events, uint64_t id) {
  epoll_event event{};
  event.events = events;
  event.data.u64 = id;
  ::epoll_ctl(epoll.get(), EPOLL_CTL_ADD, socket.get(), &event);
}

ConnectionLimits within(ConnectionLimits limits, size_t descriptors, size_t reserved) {
  // The last third is for what else is opened now and then, so that running out stays an exception.
  const size_t free = descriptors > reserved ? descriptors - reserved : 0;
  const size_t room = std::max<size_t>(free * 2 / 3 / 2, 4);
  if (room < limits.in_all) {
    log_warn("few_descriptors", {{"limit", descriptors},
                                 {"connections_max", room},
                                 {"wanted", limits.in_all},
                                 {"help",
                                  "raise the limit of open files (ulimit -n, LimitNOFILE) or lower "
                                  "server.connections_max"}});
    limits.in_all = room;
  }
  // One peer alone must not be able to shut out all the others.
  limits.of_peer = std::min(limits.of_peer, std::max<size_t>(limits.in_all / 2, 1));
  return limits;
}

}  // namespace

size_t raise_descriptor_limit(size_t wanted) {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return wanted;
  if (limit.rlim_cur < wanted && limit.rlim_cur < limit.rlim_max) {
    rlimit raised = limit;
    raised.rlim_cur = std::min<rlim_t>(wanted, limit.rlim_max);
    if (::setrlimit(RLIMIT_NOFILE, &raised) == 0) limit = raised;
  }
  return limit.rlim_cur;
}

StatusOr<std::unique_ptr<Listener>> Listener::open(const ListenerSettings& settings) {
  const size_t wanted = settings.limits.in_all * 3 + settings.reserved_descriptors;
  const size_t descriptors = raise_descriptor_limit(wanted);
  HG_ASSIGN_OR_RETURN(ListeningSocket socket, ListeningSocket::open(settings.address, settings.port));
  const ConnectionLimits limits = within(settings.limits, descriptors, settings.reserved_descriptors);
  return std::unique_ptr<Listener>(new Listener(std::move(socket), settings, limits));
}

Listener::Listener(ListeningSocket socket, const ListenerSettings& settings, ConnectionLimits limits)
    : settings_(settings),
      room_(limits.in_all),
      socket_(std::move(socket)),
      port_(socket_.port()),
      self_call_(std::make_shared<SelfCall>(socket_.reachable_at())),
      limits_(limits, system_clock()),
      guard_(settings.memory_rise_max, system_clock()),
      last_id_(kWake),
      epoll_(::epoll_create1(EPOLL_CLOEXEC)),
      wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  HG_CHECK(epoll_.valid() && wake_.valid());
  watch(epoll_, wake_, EPOLLIN, kWake);
}

Listener::~Listener() { stop(); }

void Listener::start(HandOver hand_over) {
  hand_over_ = std::move(hand_over);
  for (const Descriptor& socket : socket_.sockets()) watch(epoll_, socket, EPOLLIN, kListening);
  thread_ = std::jthread([this](std::stop_token stop) { run(stop); });
  pthread_setname_np(thread_.native_handle(), "listener");
}

void Listener::run(std::stop_token stop) {
  const std::stop_callback on_stop(stop, [this] { ::eventfd_write(wake_.get(), 1); });
  bool again = false;
  while (!stop.stop_requested()) {
    epoll_event events[kAcceptedAtOnce];
    const bool guarded = settings_.memory_rise_max != 0 && !connections_.empty();
    const int limit = again ? 0 : guarded ? static_cast<int>(kLookEvery.count()) : -1;
    const int count = ::epoll_wait(epoll_.get(), events, kAcceptedAtOnce, limit);
    bool waiting = again;
    for (int i = 0; i < count; ++i) {
      if (events[i].data.u64 > kWake) forget(events[i].data.u64);
      if (events[i].data.u64 == kListening) waiting = true;
    }
    again = waiting && accept_some();
    if (guarded && system_clock().now() >= next_look_) guard_memory();
    if (short_of_resources_ && waiting) system_clock().sleep(kAgainWhenShort, stop);
  }
}

bool Listener::accept_some() {
  int taken = 0;
  for (; taken < kAcceptedAtOnce; ++taken) {
    auto client = socket_.accept();
    if (client) take(*std::move(client));
    sent_away_ = socket_.sent_away();
    short_of_resources_ = socket_.short_of() != 0;
    if (!client) break;
  }
  return taken == kAcceptedAtOnce;
}

void Listener::take(ListeningSocket::Accepted client) {
  const auto set = [&](int name, int value) {
    ::setsockopt(client.socket.get(), IPPROTO_TCP, name, &value, sizeof(value));
  };
  if (settings_.unacknowledged_max.count() > 0) {
    set(TCP_USER_TIMEOUT, static_cast<int>(settings_.unacknowledged_max.count()));
  }
  if (self_call_->is_own(client.peer)) return hand_over_(std::move(client.socket), true);
  if (const Refusal why = limits_.enter(client.peer.network); why != Refusal::kNone) return count_refused(why);
  Descriptor second(::fcntl(client.socket.get(), F_DUPFD_CLOEXEC, 0));
  if (!second.valid()) {
    limits_.left(client.peer.network);
    return socket_.note_sent_away(errno);
  }
  const uint64_t id = ++last_id_;
  // Without events it still tells of a socket that is shut down on both sides, which is how gRPC ends one.
  watch(epoll_, second, EPOLLET, id);
  connections_.emplace(id, Connection{std::move(second), client.peer, admitted_of(client.peer)});
  ++accepted_;
  open_ = limits_.open();
  hand_over_(std::move(client.socket), false);
}

void Listener::forget(uint64_t id) {
  const auto at = connections_.find(id);
  if (at == connections_.end()) return;
  limits_.left(at->second.peer.network);
  connections_.erase(at);
  open_ = limits_.open();
}

void Listener::guard_memory() {
  next_look_ = system_clock().now() + kLookEvery;
  const bool alarmed = guard_.look(resident_bytes());
  if (guard_.calm_over()) guard_.begin(uses());
  if (!alarmed) return;
  if (const auto id = guard_.worst(uses())) end_for_memory(*id);
}

std::vector<ConnectionUse> Listener::uses() {
  std::vector<ConnectionUse> all;
  all.reserve(connections_.size());
  for (const auto& [id, connection] : connections_) {
    ConnectionUse use = use_of(connection.socket.get());
    use.id = id;
    use.admitted = admitted_of(connection.peer) - connection.admitted_before;
    all.push_back(use);
  }
  return all;
}

uint32_t Listener::admitted_of(const PeerAddress& peer) const {
  return settings_.admitted == nullptr ? 0 : settings_.admitted->of(peer);
}

void Listener::end_for_memory(uint64_t id) {
  const auto at = connections_.find(id);
  if (at == connections_.end()) return;
  const Connection& one = at->second;
  ++ended_for_memory_;
  limits_.slow_down(one.peer.network, kSlowTerm);
  log_warn("connection_ended", {{"peer", one.peer.host},
                                {"why", "memory rose, and this connection sent most of what no call came of"},
                                {"received_bytes", use_of(one.socket.get()).received},
                                {"rise_bytes", guard_.rise()},
                                {"help", "see server.memory_rise_max"}});
  // Disconnects at once, together with what waits to be read; shutdown(2) alone would leave that to gRPC.
  sockaddr nobody{};
  nobody.sa_family = AF_UNSPEC;
  ::connect(one.socket.get(), &nobody, sizeof(nobody));
  ::shutdown(one.socket.get(), SHUT_RDWR);
  forget(id);
}

void Listener::count_refused(Refusal why) {
  const uint64_t count = ++refused_[static_cast<size_t>(why)];
  const MonotonicTime now = system_clock().now();
  if (refusal_told_ != MonotonicTime{} && now - refusal_told_ < kTellRefusalsEvery) return;
  refusal_told_ = now;
  log_warn("connections_refused",
           {{"limit", kRefusalNames[static_cast<size_t>(why)]},
            {"refused", count},
            {"open", limits_.open()},
            {"help", "see server.connections_max, connections_per_peer_max and connects_per_second"}});
}

void Listener::stop() {
  if (!thread_.joinable()) return;
  thread_.request_stop();
  thread_.join();
  // What waits is refused, as is who comes.
  socket_.close();
}

ListenerStats Listener::stats() const {
  ListenerStats stats;
  stats.open = open_;
  stats.room = room_;
  stats.accepted = accepted_;
  for (size_t i = 0; i < refused_.size(); ++i) stats.refused[i] = refused_[i];
  stats.sent_away = sent_away_;
  stats.ended_for_memory = ended_for_memory_;
  stats.short_of_resources = short_of_resources_;
  return stats;
}

}  // namespace headgate::engine
