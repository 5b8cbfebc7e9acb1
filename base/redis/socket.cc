#include "base/redis/socket.h"

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

namespace headgate::redis {
namespace {

constexpr Duration kSlice{50};

Status stopped() { return make_status(StatusCode::kCancelled, "stopped while waiting for Redis"); }

struct FreeAddresses {
  void operator()(addrinfo* list) const { ::freeaddrinfo(list); }
};
using Addresses = std::unique_ptr<addrinfo, FreeAddresses>;

// What a look-up by the C library's own thread uses; it must stay for as long as that thread may be at it.
struct Lookup {
  std::string host;
  std::string port;
  addrinfo hints{};
  gaicb request{};

  ~Lookup() {
    if (request.ar_result != nullptr) ::freeaddrinfo(request.ar_result);
  }
};

// Looked up aside, because getaddrinfo() waits for name servers for as long as it likes.
StatusOr<Addresses> resolve(const Address& address, const Patience& patience) {
  auto lookup = std::make_unique<Lookup>();
  lookup->host = address.host;
  lookup->port = std::to_string(address.port);
  lookup->hints.ai_socktype = SOCK_STREAM;
  addrinfo* plain = nullptr;
  addrinfo numeric = lookup->hints;
  numeric.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV;
  if (::getaddrinfo(lookup->host.c_str(), lookup->port.c_str(), &numeric, &plain) == 0) return Addresses(plain);

  lookup->request.ar_name = lookup->host.c_str();
  lookup->request.ar_service = lookup->port.c_str();
  lookup->request.ar_request = &lookup->hints;
  gaicb* request = &lookup->request;
  if (::getaddrinfo_a(GAI_NOWAIT, &request, 1, nullptr) != 0) return unavailable("no name can be looked up now");
  const timespec slice{0, std::chrono::nanoseconds(kSlice).count()};
  while (::gai_error(request) == EAI_INPROGRESS) {
    ::gai_suspend(&request, 1, &slice);
    const bool late = std::chrono::steady_clock::now() > patience.deadline;
    if (!late && !patience.stop.stop_requested()) continue;
    if (::gai_cancel(request) == EAI_NOTCANCELED) lookup.release();  // it is left to the look-up, which cannot be ended
    if (!late) return stopped();
    return unavailable("the name server does not answer in time");
  }
  if (const int error = ::gai_error(request); error != 0) return unavailable("{}", ::gai_strerror(error));
  return Addresses(std::exchange(lookup->request.ar_result, nullptr));
}

Status failure(const char* what) { return unavailable("{}: {}", what, std::strerror(errno)); }

}  // namespace

void Socket::close() {
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
}

Status Socket::connect(const Address& address, const Patience& patience) {
  close();
  HG_ASSIGN_OR_RETURN(const Addresses found, resolve(address, patience));
  Status status = unavailable("the name has no address");
  for (const addrinfo* at = found.get(); at != nullptr; at = at->ai_next) {
    close();
    fd_ = ::socket(at->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd_ < 0) return failure("no socket");
    if (::connect(fd_, at->ai_addr, at->ai_addrlen) != 0 && errno != EINPROGRESS) {
      status = failure("no connection");
      continue;
    }
    status = await(true, patience);
    if (status.code() == StatusCode::kDeadlineExceeded) return unavailable("no connection in time");
    HG_RETURN_IF_ERROR(status);
    int error = 0;
    socklen_t size = sizeof(error);
    ::getsockopt(fd_, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error == 0) {
      const int on = 1;
      ::setsockopt(fd_, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
      ::setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
      return ok_status();
    }
    errno = error;
    status = failure("no connection");
  }
  close();
  return status;
}

Status Socket::connect_unix(const std::string& path) {
  close();
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path)) return invalid_argument("redis: the path '{}' is too long", path);
  std::memcpy(address.sun_path, path.data(), path.size());
  fd_ = ::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  // A local server takes a connection at once, or its queue is full.
  if (fd_ < 0 || ::connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    const Status status = failure("no connection");
    close();
    return status;
  }
  return ok_status();
}

StatusOr<size_t> Socket::send(std::string_view data) {
  if (!is_open()) return unavailable("not connected");
  size_t sent = 0;
  while (sent < data.size()) {
    const ssize_t went = ::send(fd_, data.data() + sent, data.size() - sent, MSG_NOSIGNAL);
    if (went > 0) {
      sent += static_cast<size_t>(went);
    } else if (errno != EINTR) {
      if (errno == EAGAIN || errno == EWOULDBLOCK) break;
      return failure("write");
    }
  }
  return sent;
}

Status Socket::receive(std::string& data) {
  if (!is_open()) return unavailable("not connected");
  std::array<char, 16 * 1024> buffer;
  while (true) {
    const ssize_t got = ::recv(fd_, buffer.data(), buffer.size(), 0);
    if (got > 0) {
      data.append(buffer.data(), static_cast<size_t>(got));
      if (static_cast<size_t>(got) < buffer.size()) return ok_status();
    } else if (got == 0) {
      // What came with the end is still worth reading.
      return data.empty() ? unavailable("the server has closed the connection") : ok_status();
    } else if (errno != EINTR) {
      return errno == EAGAIN || errno == EWOULDBLOCK ? ok_status() : failure("read");
    }
  }
}

Status Socket::await(bool write, const Patience& patience) const {
  while (true) {
    pollfd watched{fd_, static_cast<short>(POLLIN | (write ? POLLOUT : 0)), 0};
    if (::poll(&watched, 1, static_cast<int>(kSlice.count())) > 0) return ok_status();
    if (patience.stop.stop_requested()) return stopped();
    if (std::chrono::steady_clock::now() > patience.deadline) {
      return make_status(StatusCode::kDeadlineExceeded, "no answer in time");
    }
  }
}

}  // namespace headgate::redis
