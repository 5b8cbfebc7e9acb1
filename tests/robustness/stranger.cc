#include "tests/robustness/stranger.h"

#include <arpa/inet.h>
#include <grpcpp/grpcpp.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include "base/v1/service.grpc.pb.h"

namespace headgate::testing {

using namespace std::chrono_literals;

namespace {

sockaddr_in loopback(const std::string& host, int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  ::inet_pton(AF_INET, host.c_str(), &address.sin_addr);
  return address;
}

bool ready(int socket, short events, std::chrono::milliseconds limit) {
  pollfd waiting{socket, events, 0};
  return ::poll(&waiting, 1, static_cast<int>(limit.count())) > 0;
}

}  // namespace

Stranger::Stranger(int port, const std::string& from) : socket_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  const sockaddr_in own = loopback(from, 0), other = loopback("127.0.0.1", port);
  connected_ = ::bind(socket_.get(), reinterpret_cast<const sockaddr*>(&own), sizeof(own)) == 0 &&
               ::connect(socket_.get(), reinterpret_cast<const sockaddr*>(&other), sizeof(other)) == 0;
}

bool Stranger::say(const std::string& bytes) {
  for (size_t said = 0; said < bytes.size();) {
    if (!ready(socket_.get(), POLLOUT, 2s)) return false;
    const ssize_t sent = ::send(socket_.get(), bytes.data() + said, bytes.size() - said, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0 && errno != EAGAIN) return false;
    if (sent > 0) said += static_cast<size_t>(sent);
  }
  return true;
}

bool Stranger::listen() {
  char buffer[64 * 1024];
  for (;;) {
    const ssize_t got = ::recv(socket_.get(), buffer, sizeof(buffer), MSG_DONTWAIT);
    if (got == 0 || (got < 0 && errno != EAGAIN)) return false;
    if (got < 0) return true;
  }
}

bool Stranger::hears_within(std::chrono::milliseconds limit) { return ready(socket_.get(), POLLIN, limit); }

bool Stranger::ended_within(std::chrono::milliseconds limit) {
  const auto until = std::chrono::steady_clock::now() + limit;
  while (listen()) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - std::chrono::steady_clock::now());
    if (left <= 0ms || !ready(socket_.get(), POLLIN, left)) return false;
  }
  return true;
}

namespace http2 {

std::string frame(Type type, uint8_t flags, uint32_t stream, const std::string& content) {
  const size_t size = content.size();
  std::string text;
  for (const size_t byte : {size >> 16, size >> 8, size}) text += static_cast<char>(byte);
  text += static_cast<char>(type);
  text += static_cast<char>(flags);
  for (const uint32_t byte : {stream >> 24, stream >> 16, stream >> 8, stream}) text += static_cast<char>(byte);
  return text + content;
}

std::string preface() { return "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(kSettings, kNone, 0, ""); }

namespace {

// A length as HPACK has it in a byte of which the first bit is taken.
std::string word(const std::string& text) {
  std::string length;
  if (text.size() < 127) {
    length = static_cast<char>(text.size());
  } else {
    length = '\x7f';
    size_t rest = text.size() - 127;
    for (; rest >= 128; rest >>= 7) length += static_cast<char>(128 | (rest & 127));
    length += static_cast<char>(rest);
  }
  return length + text;
}

}  // namespace

std::string field(const std::string& name, const std::string& value) {
  return std::string(1, '\0') + word(name) + word(value);
}

std::string fields(const std::string& path) {
  return "\x83\x86\x04" + word(path) + "\x01" + word("x") + "\x0f\x10" + word("application/grpc") +
         field("te", "trailers");
}

}  // namespace http2

std::chrono::milliseconds time_of_new_client(const std::string& address, std::chrono::milliseconds limit) {
  grpc::ChannelArguments arguments;
  // Not the connection of somebody else in this process.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 200);
  const auto before = std::chrono::steady_clock::now();
  const auto channel = grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + limit);
  context.set_wait_for_ready(true);
  base::v1::TenantListRequest request;
  base::v1::TenantListResponse response;
  const bool ok = base::v1::Tenancy::NewStub(channel)->List(&context, request, &response).ok();
  const auto took = std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - before);
  return ok ? took : limit + 1ms;
}

}  // namespace headgate::testing
