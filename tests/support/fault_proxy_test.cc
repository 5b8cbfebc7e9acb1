#include "tests/support/fault_proxy.h"

#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <memory>
#include <thread>
#include <vector>

#include "tests/support/test_main.h"

namespace headgate::testing {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

void set_timeout(int fd, int seconds) {
  const timeval time{seconds, 0};
  ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &time, sizeof time);
  ::setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &time, sizeof time);
}

// Sends back what it gets, each connection on a thread of its own.
class EchoServer {
 public:
  EchoServer() : listener_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    REQUIRE(::bind(listener_, reinterpret_cast<sockaddr*>(&address), size) == 0);
    REQUIRE(::listen(listener_, 16) == 0);
    ::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
    thread_ = std::jthread([this] { accept_all(); });
  }
  ~EchoServer() {
    ::shutdown(listener_, SHUT_RDWR);
    thread_.join();
    for (const int fd : fds_) ::shutdown(fd, SHUT_RDWR);
    echoes_.clear();
    for (const int fd : fds_) ::close(fd);
    ::close(listener_);
  }
  int port() const { return port_; }

 private:
  void accept_all() {
    for (;;) {
      const int fd = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
      if (fd < 0) return;
      fds_.push_back(fd);
      echoes_.emplace_back([fd] {
        char data[4096];
        for (ssize_t got = 0; (got = ::recv(fd, data, sizeof data, 0)) > 0;) {
          if (::send(fd, data, static_cast<size_t>(got), MSG_NOSIGNAL) < 0) return;
        }
        ::shutdown(fd, SHUT_WR);
      });
    }
  }

  const int listener_;
  int port_ = 0;
  std::vector<int> fds_;
  std::vector<std::jthread> echoes_;
  std::jthread thread_;
};

class Client {
 public:
  explicit Client(int port) : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    set_timeout(fd_, 20);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    connected_ = ::connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
    error_ = connected_ ? 0 : errno;
  }
  ~Client() { ::close(fd_); }

  bool connected() const { return connected_; }
  int error() const { return error_; }
  bool send(const std::string& text) {
    return ::send(fd_, text.data(), text.size(), MSG_NOSIGNAL) == ssize_t(text.size());
  }
  // What arrives until `size` bytes are there, the other side ended, or `seconds` have passed.
  std::string receive(size_t size, int seconds = 20) {
    set_timeout(fd_, seconds);
    std::string text;
    char data[4096];
    while (text.size() < size) {
      const ssize_t got = ::recv(fd_, data, std::min(sizeof data, size - text.size()), 0);
      error_ = got < 0 ? errno : 0;
      if (got <= 0) break;
      text.append(data, static_cast<size_t>(got));
    }
    return text;
  }
  void end() { ::shutdown(fd_, SHUT_WR); }
  bool says(const std::string& text) { return send(text) && receive(text.size()) == text; }

 private:
  const int fd_;
  bool connected_ = false;
  int error_ = 0;
};

}  // namespace

TEST_SUITE("support/fault_proxy") {
  TEST_CASE("healthy: bytes and the end of a stream pass, and are counted") {
    EchoServer server;
    FaultProxy proxy(server.port());
    Client client(proxy.port());
    REQUIRE(client.connected());
    const std::string large(3'000'000, 'x');
    std::jthread writer([&] { client.send(large); });
    CHECK(client.receive(large.size()) == large);
    writer.join();
    client.end();
    CHECK(client.receive(1).empty());
    CHECK(client.error() == 0);
    CHECK(proxy.counters().accepted == 1);
    CHECK(proxy.counters().to_server == large.size());
    CHECK(proxy.counters().to_client == large.size());
    CHECK(wait_until([&] { return proxy.counters().open == 0; }));
  }

  TEST_CASE("delay: an answer takes two delays longer, and none after heal") {
    EchoServer server;
    FaultProxy proxy(server.port());
    Client client(proxy.port());
    proxy.delay(150ms);
    const auto begin = Clock::now();
    CHECK(client.says("a"));
    CHECK(Clock::now() - begin >= 300ms);
    proxy.heal();
    CHECK(client.says("b"));
  }

  TEST_CASE("limit: so many bytes take their time") {
    EchoServer server;
    FaultProxy proxy(server.port());
    Client client(proxy.port());
    proxy.limit(100'000);
    const auto begin = Clock::now();
    CHECK(client.says(std::string(50'000, 'x')));
    CHECK(Clock::now() - begin >= 400ms);
  }

  TEST_CASE("freeze: nothing comes until heal, and nothing is lost") {
    EchoServer server;
    FaultProxy proxy(server.port());
    Client client(proxy.port());
    CHECK(client.says("before"));
    proxy.freeze();
    CHECK(client.send("held"));
    CHECK(client.receive(4, 1).empty());
    proxy.heal();
    CHECK(client.receive(4) == "held");
  }

  TEST_CASE("cut: connections are reset and new ones refused, until heal, at the same port") {
    EchoServer server;
    FaultProxy proxy(server.port());
    auto client = std::make_unique<Client>(proxy.port());
    CHECK(client->says("before"));
    for (int round = 1; round <= 3; ++round) {
      proxy.cut();
      CHECK(client->receive(1).empty());
      Client refused(proxy.port());
      CHECK_FALSE(refused.connected());
      CHECK(refused.error() == ECONNREFUSED);
      proxy.heal();
      client = std::make_unique<Client>(proxy.port());
      CHECK(client->says("after"));
    }
    CHECK(proxy.counters().resets >= 3);
  }

  TEST_CASE("half-open: bytes vanish, and an old connection stays silent after heal") {
    EchoServer server;
    FaultProxy proxy(server.port());
    Client old(proxy.port());
    CHECK(old.says("before"));
    proxy.half_open();
    Client meanwhile(proxy.port());
    CHECK(meanwhile.connected());
    for (Client* client : {&old, &meanwhile}) {
      CHECK(client->send("lost"));
      CHECK(client->receive(1, 1).empty());
      CHECK(client->error() == EAGAIN);
    }
    proxy.heal();
    CHECK(Client(proxy.port()).says("after"));
    CHECK(old.send("lost too"));
    CHECK(old.receive(1, 1).empty());
    CHECK(old.error() == EAGAIN);
    CHECK(wait_until([&] { return proxy.counters().swallowed == 16; }));
  }

  TEST_CASE("reset_after: the connection ends in the middle of a message, once") {
    EchoServer server;
    FaultProxy proxy(server.port());
    Client client(proxy.port());
    proxy.reset_after(FaultProxy::kToClient, 10);
    CHECK(client.says("12345"));
    CHECK(proxy.reset_pending());
    CHECK(client.send("1234567890"));
    CHECK(client.receive(10).size() <= 5);
    CHECK(client.error() == ECONNRESET);
    CHECK_FALSE(proxy.reset_pending());
    CHECK(Client(proxy.port()).says("12345678901234567890"));
    CHECK(proxy.counters().resets == 1);
  }

  TEST_CASE("absent server: the client is reset") {
    int port = 0;
    {
      EchoServer gone;
      port = gone.port();
    }
    FaultProxy proxy(port);
    Client client(proxy.port());
    CHECK(client.receive(1).empty());
  }
}

}  // namespace headgate::testing
