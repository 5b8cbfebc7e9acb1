#include "tests/robustness/stranger.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <grpcpp/grpcpp.h>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <sys/socket.h>

#include <csignal>

#include "base/v1/service.grpc.pb.h"
#include "tests/support/program.h"

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

Certificate::Certificate(const std::string& folder) : path_(folder + "/own") {
  if (find_program("openssl").empty()) return;
  Process openssl(
      {.argv = {"openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                "-subj", "/CN=localhost", "-days", "2", "-keyout", path_ + ".key", "-out", path_ + ".pem"}});
  made_ = openssl.wait(20s) && openssl.exit_code() == 0;
}

std::string Certificate::pem() const { return read_file(path_ + ".pem"); }

void Stranger::EndTls::operator()(ssl_st* tls) const { SSL_free(tls); }

Stranger::Stranger(int port, const std::string& from, bool tls)
    : socket_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  const sockaddr_in own = loopback(from, 0), other = loopback("127.0.0.1", port);
  connected_ = ::bind(socket_.get(), reinterpret_cast<const sockaddr*>(&own), sizeof(own)) == 0 &&
               ::connect(socket_.get(), reinterpret_cast<const sockaddr*>(&other), sizeof(other)) == 0;
  ::fcntl(socket_.get(), F_SETFL, O_NONBLOCK);
  if (connected_ && tls) connected_ = shake_hands();
}

bool Stranger::shake_hands() {
  static SSL_CTX* const context = [] {
    std::signal(SIGPIPE, SIG_IGN);  // OpenSSL writes as if to a file
    SSL_CTX* made = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_mode(made, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_alpn_protos(made, reinterpret_cast<const unsigned char*>("\x02h2"), 3);
    return made;
  }();
  tls_.reset(SSL_new(context));
  SSL_set_fd(tls_.get(), socket_.get());
  const auto until = std::chrono::steady_clock::now() + 5s;
  for (;;) {
    const int done = SSL_connect(tls_.get());
    if (done == 1) return true;
    const int why = SSL_get_error(tls_.get(), done);
    if (why != SSL_ERROR_WANT_READ && why != SSL_ERROR_WANT_WRITE) return false;
    if (std::chrono::steady_clock::now() > until) return false;
    ready(socket_.get(), why == SSL_ERROR_WANT_READ ? POLLIN : POLLOUT, 100ms);
  }
}

ssize_t Stranger::write_some(const char* bytes, size_t count) {
  if (tls_ == nullptr) {
    const ssize_t sent = ::send(socket_.get(), bytes, count, MSG_NOSIGNAL | MSG_DONTWAIT);
    return sent < 0 && errno == EAGAIN ? 0 : sent;
  }
  const int sent = SSL_write(tls_.get(), bytes, static_cast<int>(count));
  if (sent > 0) return sent;
  const int why = SSL_get_error(tls_.get(), sent);
  return why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE ? 0 : -1;
}

ssize_t Stranger::read_some(char* bytes, size_t count) {
  if (tls_ == nullptr) {
    const ssize_t got = ::recv(socket_.get(), bytes, count, MSG_DONTWAIT);
    if (got == 0) return -1;
    return got < 0 && errno == EAGAIN ? 0 : got;
  }
  const int got = SSL_read(tls_.get(), bytes, static_cast<int>(count));
  if (got > 0) return got;
  const int why = SSL_get_error(tls_.get(), got);
  return why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE ? 0 : -1;
}

bool Stranger::say(const std::string& bytes) {
  for (size_t said = 0; said < bytes.size();) {
    if (!ready(socket_.get(), POLLOUT, 2s)) return false;
    const ssize_t sent = write_some(bytes.data() + said, bytes.size() - said);
    if (sent < 0) return false;
    said += static_cast<size_t>(sent);
  }
  return true;
}

bool Stranger::listen() {
  char buffer[64 * 1024];
  for (;;) {
    const ssize_t got = read_some(buffer, sizeof(buffer));
    if (got <= 0) return got == 0;
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

int port_of(const std::string& address) { return std::stoi(address.substr(address.rfind(':') + 1)); }

std::chrono::milliseconds time_of_new_client(const std::string& address, std::chrono::milliseconds limit,
                                             const std::string& trusted_pem) {
  grpc::ChannelArguments arguments;
  // Not the connection of somebody else in this process.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 200);
  const auto before = std::chrono::steady_clock::now();
  if (!trusted_pem.empty()) arguments.SetSslTargetNameOverride("localhost");
  const auto channel = grpc::CreateCustomChannel(
      address, trusted_pem.empty() ? grpc::InsecureChannelCredentials() : grpc::SslCredentials({trusted_pem, "", ""}),
      arguments);
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
