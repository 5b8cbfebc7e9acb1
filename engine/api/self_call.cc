#include "engine/api/self_call.h"

#include <netinet/in.h>
#include <poll.h>

#include <cstring>

namespace headgate::engine {
namespace {

// A frame of HTTP/2 (RFC 9113): its length in three bytes, type, flags, stream, and what is in it.
enum FrameType : uint8_t { kData = 0, kHeaders = 1, kReset = 3, kSettings = 4, kGoAway = 7 };
constexpr uint8_t kEndStream = 1, kEndHeaders = 4;
constexpr size_t kFrameHead = 9;
constexpr size_t kAnswerMax = 1 << 20;

std::string frame(FrameType type, uint8_t flags, uint8_t stream, const std::string& content) {
  const auto size = static_cast<uint8_t>(content.size());  // ours are short
  std::string head = {0, 0, static_cast<char>(size),  static_cast<char>(type), static_cast<char>(flags), 0,
                      0, 0, static_cast<char>(stream)};
  return head + content;
}

// Header fields as HPACK (RFC 7541) has them without tables: POST and http by their number, the others in words.
std::string request_of(const std::string& path) {
  const auto word = [](const std::string& text) { return static_cast<char>(text.size()) + text; };
  const std::string fields = "\x83\x86\x04" + word(path) + "\x01" + word("headgate") + "\x0f\x10" +
                             word("application/grpc") + std::string(1, '\0') + word("te") + word("trailers");
  const std::string empty_message(5, '\0');
  return "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(kSettings, 0, 0, "") + frame(kHeaders, kEndHeaders, 1, fields) +
         frame(kData, kEndStream, 1, empty_message);
}

Status wait_for(const Descriptor& socket, short events, MonotonicTime until) {
  const auto left = std::chrono::duration_cast<Duration>(until - system_clock().now()).count();
  pollfd waiting{socket.get(), events, 0};
  const int ready = left <= 0 ? 0 : ::poll(&waiting, 1, static_cast<int>(left));
  return ready > 0 ? ok_status() : unavailable("the gRPC port does not answer");
}

// What the frames that have come say: kUnavailable, still nothing; ok, answered.
Status read_answer(std::string& bytes) {
  const auto at = [&](size_t i) { return static_cast<uint8_t>(bytes[i]); };
  while (bytes.size() >= kFrameHead) {
    const size_t size = size_t{at(0)} << 16 | size_t{at(1)} << 8 | at(2);
    if (bytes.size() < kFrameHead + size) break;
    const uint8_t type = at(3), flags = at(4), stream = at(8);
    if (stream == 1 && type == kHeaders && (flags & kEndStream) != 0) return ok_status();
    if (type == kGoAway || (stream == 1 && type == kReset)) return internal_error("the gRPC port refuses calls");
    bytes.erase(0, kFrameHead + size);
  }
  if (bytes.size() > kAnswerMax) return internal_error("the gRPC port does not speak HTTP/2");
  return unavailable("the gRPC port does not answer");
}

}  // namespace

bool SelfCall::is_own(const PeerAddress& peer) const {
  return peer.port == port_ && peer.port != 0 && peer.host == peer_address(to_).host;
}

Duration SelfCall::unanswered() const {
  const MonotonicTime since = unanswered_since_;
  if (since == MonotonicTime{}) return Duration(0);
  return std::chrono::duration_cast<Duration>(system_clock().now() - since);
}

Status SelfCall::ask(Duration limit) {
  const MonotonicTime until = system_clock().now() + limit;
  const bool v6 = to_.ss_family == AF_INET6;
  const socklen_t size = v6 ? sizeof(sockaddr_in6) : sizeof(sockaddr_in);
  const Descriptor socket(::socket(to_.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  // A port of its own before it connects, so that the listener knows it in time.
  sockaddr_storage own = to_;
  (v6 ? reinterpret_cast<sockaddr_in6&>(own).sin6_port : reinterpret_cast<sockaddr_in&>(own).sin_port) = 0;
  socklen_t own_size = size;
  if (!socket.valid() || ::bind(socket.get(), reinterpret_cast<const sockaddr*>(&own), size) != 0 ||
      ::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&own), &own_size) != 0) {
    return unavailable("the gRPC port cannot be asked: {}", std::strerror(errno));
  }
  port_ = peer_address(own).port;
  if (unanswered_since_.load() == MonotonicTime{}) unanswered_since_ = system_clock().now();
  Status status = call(socket, until);
  port_ = 0;
  if (status.ok()) {
    answered_ = system_clock().now();
    unanswered_since_ = MonotonicTime{};
  }
  return status;
}

Status SelfCall::call(const Descriptor& socket, MonotonicTime until) {
  const socklen_t size = to_.ss_family == AF_INET6 ? sizeof(sockaddr_in6) : sizeof(sockaddr_in);
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&to_), size) != 0 && errno != EINPROGRESS) {
    return unavailable("the gRPC port takes no connection: {}", std::strerror(errno));
  }
  HG_RETURN_IF_ERROR(wait_for(socket, POLLOUT, until));
  const std::string request = request_of("/grpc.health.v1.Health/Check");
  if (::send(socket.get(), request.data(), request.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(request.size())) {
    return unavailable("the gRPC port takes no connection: {}", std::strerror(errno));
  }
  std::string answer;
  for (;;) {
    HG_RETURN_IF_ERROR(wait_for(socket, POLLIN, until));
    char buffer[4096];
    const ssize_t got = ::recv(socket.get(), buffer, sizeof(buffer), 0);
    if (got == 0) return unavailable("the gRPC port ends connections");
    if (got < 0 && errno != EAGAIN && errno != EINTR) {
      return unavailable("the gRPC port ends connections: {}", std::strerror(errno));
    }
    if (got > 0) answer.append(buffer, static_cast<size_t>(got));
    const Status status = read_answer(answer);
    if (status.code() != StatusCode::kUnavailable) return status;
  }
}

Status SelfCall::ask_patiently(Duration limit, Duration patience) {
  const Status status = ask(limit);
  const bool recent = answered_ && system_clock().now() - *answered_ < patience;
  return recent ? ok_status() : status;
}

}  // namespace headgate::engine
