#include "engine/api/listener.h"

#include <linux/tcp.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>

#include <algorithm>

#include "base/log.h"

namespace headgate::engine {
namespace {

constexpr int kAcceptedAtOnce = 64;
constexpr Duration kAgainWhenShort{10};
constexpr Duration kTellRefusalsEvery{10'000};

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
  ListenerSettings possible = settings;
  ConnectionLimits& limits = possible.connections.limits;
  const size_t descriptors = raise_descriptor_limit(limits.in_all * 3 + settings.reserved_descriptors);
  HG_ASSIGN_OR_RETURN(ListeningSocket socket, ListeningSocket::open(settings.address, settings.port));
  limits = within(limits, descriptors, settings.reserved_descriptors);
  return std::unique_ptr<Listener>(new Listener(std::move(socket), possible));
}

Listener::Listener(ListeningSocket socket, const ListenerSettings& settings)
    : settings_(settings),
      socket_(std::move(socket)),
      port_(socket_.port()),
      self_call_(std::make_shared<SelfCall>(socket_.reachable_at())),
      epoll_(::epoll_create1(EPOLL_CLOEXEC)),
      wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      connections_(settings.connections, self_call_) {
  HG_CHECK(epoll_.valid() && wake_.valid());
}

Listener::~Listener() { stop(); }

void Listener::start(HandOver hand_over) {
  hand_over_ = std::move(hand_over);
  epoll_event event{};
  event.events = EPOLLIN;
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, wake_.get(), &event);
  for (const Descriptor& socket : socket_.sockets()) ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, socket.get(), &event);
  thread_ = std::jthread([this](std::stop_token stop) { run(stop); });
  pthread_setname_np(thread_.native_handle(), "listener");
}

void Listener::run(std::stop_token stop) {
  const std::stop_callback on_stop(stop, [this] { ::eventfd_write(wake_.get(), 1); });
  bool again = false;
  while (!stop.stop_requested()) {
    epoll_event event;
    if (!again) ::epoll_wait(epoll_.get(), &event, 1, -1);
    again = !stop.stop_requested() && accept_some();
    if (short_of_resources_) system_clock().sleep(kAgainWhenShort, stop);
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
  if (const auto limit = static_cast<unsigned int>(settings_.unacknowledged_max.count()); limit > 0) {
    ::setsockopt(client.socket.get(), IPPROTO_TCP, TCP_USER_TIMEOUT, &limit, sizeof(limit));
  }
  if (self_call_->is_own(client.peer)) return hand_over_(std::move(client.socket), true);
  const Refusal why = connections_.add(client.socket, client.peer);
  if (why == Refusal::kNoDescriptor) return socket_.note_sent_away(errno);
  if (why != Refusal::kNone) return tell_refused(why);
  ++accepted_;
  hand_over_(std::move(client.socket), false);
}

void Listener::tell_refused(Refusal why) {
  const uint64_t count = ++refused_[static_cast<size_t>(why)];
  const MonotonicTime now = system_clock().now();
  if (refusal_told_ != MonotonicTime{} && now - refusal_told_ < kTellRefusalsEvery) return;
  refusal_told_ = now;
  log_warn("connections_refused",
           {{"limit", kRefusalNames[static_cast<size_t>(why)]},
            {"refused", count},
            {"open", connections_.open()},
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
  stats.open = connections_.open();
  stats.room = settings_.connections.limits.in_all;
  stats.accepted = accepted_;
  for (size_t i = 0; i < refused_.size(); ++i) stats.refused[i] = refused_[i];
  stats.refused[static_cast<size_t>(Refusal::kNoDescriptor)] = sent_away_;
  stats.ended_for_memory = connections_.ended_for_memory();
  stats.ended_without_call = connections_.ended_without_call();
  stats.short_of_resources = short_of_resources_;
  return stats;
}

}  // namespace headgate::engine
