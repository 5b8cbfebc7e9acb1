#include "base/listening_socket.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>

#include <cstring>
#include <memory>
#include <set>

#include "base/log.h"

namespace headgate {
namespace {

constexpr int kWaitingMax = 4096;  // the kernel takes less where net.core.somaxconn is less

bool is_any(const std::string& host) { return host.empty() || host == "0.0.0.0" || host == "::" || host == "*"; }

void set_port(sockaddr* address, int port) {
  const auto wire = htons(static_cast<uint16_t>(port));
  if (address->sa_family == AF_INET6) {
    reinterpret_cast<sockaddr_in6*>(address)->sin6_port = wire;
  } else {
    reinterpret_cast<sockaddr_in*>(address)->sin_port = wire;
  }
}

int port_of(const sockaddr_storage& address) {
  return ntohs(address.ss_family == AF_INET6 ? reinterpret_cast<const sockaddr_in6&>(address).sin6_port
                                             : reinterpret_cast<const sockaddr_in&>(address).sin_port);
}

sockaddr_storage name_of(int socket) {
  sockaddr_storage address{};
  socklen_t size = sizeof(address);
  ::getsockname(socket, reinterpret_cast<sockaddr*>(&address), &size);
  return address;
}

std::string text_of_address(int family, const void* bytes) {
  char text[INET6_ADDRSTRLEN] = {};
  return ::inet_ntop(family, bytes, text, sizeof(text)) == nullptr ? "" : text;
}

}  // namespace

PeerAddress peer_address(const sockaddr_storage& address) {
  PeerAddress peer;
  peer.port = port_of(address);
  if (address.ss_family == AF_INET6) {
    in6_addr bytes = reinterpret_cast<const sockaddr_in6&>(address).sin6_addr;
    if (IN6_IS_ADDR_V4MAPPED(&bytes)) {
      peer.host = peer.network = text_of_address(AF_INET, &bytes.s6_addr[12]);
      return peer;
    }
    peer.host = text_of_address(AF_INET6, &bytes);
    if (const uint32_t scope = reinterpret_cast<const sockaddr_in6&>(address).sin6_scope_id; scope != 0) {
      peer.host += fmt::format("%{}", scope);
    }
    std::memset(&bytes.s6_addr[8], 0, 8);
    peer.network = text_of_address(AF_INET6, &bytes) + "/64";
  } else {
    peer.host = peer.network = text_of_address(AF_INET, &reinterpret_cast<const sockaddr_in&>(address).sin_addr);
  }
  return peer;
}

StatusOr<Descriptor> ListeningSocket::bind_one(const sockaddr* address, socklen_t size, bool both_families) {
  Descriptor socket(::socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  const auto set = [&](int level, int name, int value) {
    ::setsockopt(socket.get(), level, name, &value, sizeof(value));
  };
  set(SOL_SOCKET, SO_REUSEADDR, 1);
  if (address->sa_family == AF_INET6) set(IPPROTO_IPV6, IPV6_V6ONLY, both_families ? 0 : 1);
  // Inherited by what is accepted.
  set(IPPROTO_TCP, TCP_NODELAY, 1);
  if (!socket.valid() || ::bind(socket.get(), address, size) != 0 || ::listen(socket.get(), kWaitingMax) != 0) {
    const int error = errno;
    // A machine without the family, or without an address of it.
    const bool absent = error == EAFNOSUPPORT || error == EADDRNOTAVAIL;
    return make_status(absent ? StatusCode::kNotFound : StatusCode::kUnavailable, std::strerror(error));
  }
  return socket;
}

StatusOr<ListeningSocket> ListeningSocket::open(const std::string& host, int port) {
  ListeningSocket made;
  made.port_ = port;
  const Status bound = is_any(host) ? made.bind_any() : made.bind_named(host);
  if (!bound.ok()) return unavailable("cannot bind {}:{}: {}", host, port, message_of(bound));
  made.take_spare();
  return made;
}

Status ListeningSocket::bind_any() {
  sockaddr_in6 v6{};
  v6.sin6_family = AF_INET6;
  v6.sin6_addr = in6addr_any;
  set_port(reinterpret_cast<sockaddr*>(&v6), port_);
  auto socket = bind_one(reinterpret_cast<const sockaddr*>(&v6), sizeof(v6), true);
  if (socket.status().code() == StatusCode::kNotFound) {
    sockaddr_in v4{};
    v4.sin_family = AF_INET;
    set_port(reinterpret_cast<sockaddr*>(&v4), port_);
    socket = bind_one(reinterpret_cast<const sockaddr*>(&v4), sizeof(v4), false);
  }
  HG_RETURN_IF_ERROR(socket.status());
  add(*std::move(socket));
  return ok_status();
}

Status ListeningSocket::bind_named(const std::string& host) {
  addrinfo wanted{};
  wanted.ai_socktype = SOCK_STREAM;
  wanted.ai_flags = AI_PASSIVE;
  addrinfo* found = nullptr;
  if (const int fault = ::getaddrinfo(host.c_str(), nullptr, &wanted, &found); fault != 0) {
    return unavailable("{}", ::gai_strerror(fault));
  }
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> addresses(found, &::freeaddrinfo);
  Status absent = ok_status();
  std::set<std::string> bound;  // a file of hosts may name an address twice
  for (const addrinfo* one = found; one != nullptr; one = one->ai_next) {
    if (!bound.emplace(reinterpret_cast<const char*>(one->ai_addr), one->ai_addrlen).second) continue;
    sockaddr_storage address{};
    std::memcpy(&address, one->ai_addr, one->ai_addrlen);
    set_port(reinterpret_cast<sockaddr*>(&address), port_);
    auto socket = bind_one(reinterpret_cast<const sockaddr*>(&address), one->ai_addrlen, false);
    if (socket.ok()) {
      add(*std::move(socket));
    } else if (socket.status().code() == StatusCode::kNotFound) {
      absent = socket.status();
    } else {
      return socket.status();
    }
  }
  return sockets_.empty() ? absent : ok_status();
}

void ListeningSocket::add(Descriptor socket) {
  port_ = port_of(name_of(socket.get()));
  sockets_.push_back(std::move(socket));
}

sockaddr_storage ListeningSocket::reachable_at() const {
  sockaddr_storage address = name_of(sockets_.front().get());
  if (address.ss_family == AF_INET6) {
    auto& v6 = reinterpret_cast<sockaddr_in6&>(address);
    if (!IN6_IS_ADDR_UNSPECIFIED(&v6.sin6_addr)) return address;
    // Every machine has the loopback of IPv4.
    address = {};
    address.ss_family = AF_INET;
    set_port(reinterpret_cast<sockaddr*>(&address), port_);
  }
  auto& v4 = reinterpret_cast<sockaddr_in&>(address);
  if (v4.sin_addr.s_addr == htonl(INADDR_ANY)) v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

std::optional<ListeningSocket::Accepted> ListeningSocket::accept() {
  take_spare();
  for (const Descriptor& socket : sockets_) {
    do {
      sockaddr_storage address{};
      socklen_t size = sizeof(address);
      Descriptor client(
          ::accept4(socket.get(), reinterpret_cast<sockaddr*>(&address), &size, SOCK_NONBLOCK | SOCK_CLOEXEC));
      if (client.valid()) {
        note_success();
        return Accepted{std::move(client), peer_address(address)};
      }
    } while (on_failure(socket.get(), errno));
  }
  return std::nullopt;
}

int ListeningSocket::short_of() const {
  return system_clock().now() - short_last_ < std::chrono::seconds(1) ? short_of_ : 0;
}

bool ListeningSocket::on_failure(int socket, int error) {
  switch (error) {
    case EAGAIN:
    case EBADF:
    case EINVAL:
    case ENOTSOCK:
    case EOPNOTSUPP:
    case EFAULT: return false;
    case EMFILE:
    case ENFILE: {
      note_shortage(error);
      spare_.reset();
      const Descriptor client(::accept4(socket, nullptr, nullptr, SOCK_CLOEXEC));
      if (!client.valid()) return false;  // nobody waits, or another thread was quicker
      ++sent_away_;
      break;
    }
    case ENOBUFS:
    case ENOMEM: note_shortage(error); return false;
    default:
      // accept(2) hands on what the network did to somebody who waited; the next one is as good as ever.
      return true;
  }
  take_spare();
  return spare_.valid();
}

void ListeningSocket::take_spare() {
  if (!spare_.valid()) spare_.reset(::open("/dev/null", O_RDONLY | O_CLOEXEC));
}

void ListeningSocket::note_shortage(int error) {
  short_last_ = system_clock().now();
  if (short_of_ == 0) {
    short_since_ = short_last_;
    sent_away_before_ = sent_away_;
    log_warn("short_of_resources", {{"port", port_},
                                    {"error", std::strerror(error)},
                                    {"help",
                                     "clients are refused until there is room; see "
                                     "ulimit -n, and who holds connections"}});
  }
  short_of_ = error;
}

void ListeningSocket::note_sent_away(int error) {
  note_shortage(error);
  ++sent_away_;
}

void ListeningSocket::note_success() {
  if (short_of_ == 0 || system_clock().now() - short_last_ < std::chrono::seconds(1)) return;
  short_of_ = 0;
  log_info("resources_again", {{"port", port_},
                               {"refused", sent_away_ - sent_away_before_},
                               {"after_ms", std::chrono::duration_cast<Duration>(short_last_ - short_since_).count()}});
}

}  // namespace headgate
