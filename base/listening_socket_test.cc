#include "base/listening_socket.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/resource.h>

#include <vector>

#include "tests/support/test_main.h"

namespace headgate {
namespace {

using headgate::testing::wait_until;

Descriptor make_client() { return Descriptor(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)); }

bool connect_to(const Descriptor& client, int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return ::connect(client.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0;
}

// The other side has hung up, within five seconds.
bool hung_up(const Descriptor& client) {
  pollfd waiting{client.get(), POLLIN, 0};
  char byte;
  return ::poll(&waiting, 1, 5'000) == 1 && ::recv(client.get(), &byte, 1, 0) <= 0;
}

// While it lives nobody in this process gets a descriptor.
class NoDescriptors {
 public:
  NoDescriptors() {
    ::getrlimit(RLIMIT_NOFILE, &before_);
    rlimit low = before_;
    low.rlim_cur = 200;
    ::setrlimit(RLIMIT_NOFILE, &low);
    for (int fd = 0; (fd = ::open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0;) held_.emplace_back(fd);
  }
  ~NoDescriptors() { ::setrlimit(RLIMIT_NOFILE, &before_); }
  NoDescriptors(const NoDescriptors&) = delete;
  NoDescriptors& operator=(const NoDescriptors&) = delete;

 private:
  rlimit before_{};
  std::vector<Descriptor> held_;
};

}  // namespace

TEST_SUITE("base/listening_socket") {
  TEST_CASE("listening socket: every form of an address is bound, and a client is known by his") {
    for (const char* host : {"127.0.0.1", "0.0.0.0", "::", "localhost"}) {
      CAPTURE(host);
      auto socket = ListeningSocket::open(host, 0);
      REQUIRE_MESSAGE(socket.ok(), message_of(socket.status()));
      CHECK(socket->port() > 0);
      CHECK(socket->reachable_at().ss_family != AF_UNSPEC);
      CHECK_FALSE(socket->accept());
      const Descriptor client = make_client();
      REQUIRE(connect_to(client, socket->port()));
      std::optional<ListeningSocket::Accepted> accepted;
      REQUIRE(wait_until([&] { return (accepted = socket->accept()).has_value(); }));
      CHECK(accepted->peer.host == "127.0.0.1");
      CHECK(accepted->peer.network == "127.0.0.1");
      CHECK(accepted->peer.port > 0);
    }
  }

  TEST_CASE("listening socket: a port in use and an address of somebody else are refused, with the reason") {
    const auto first = ListeningSocket::open("127.0.0.1", 0);
    REQUIRE(first.ok());
    const Status second = ListeningSocket::open("127.0.0.1", first->port()).status();
    CHECK(second.code() == StatusCode::kUnavailable);
    CHECK(message_of(second).find("Address already in use") != std::string::npos);
    CHECK(ListeningSocket::open("192.0.2.1", 0).status().code() == StatusCode::kUnavailable);
    CHECK(ListeningSocket::open("256.0.0.1", 80).status().code() == StatusCode::kUnavailable);
  }

  TEST_CASE("listening socket: limits of IPv6 hold for the network that one customer has") {
    sockaddr_storage address{};
    auto& v6 = reinterpret_cast<sockaddr_in6&>(address);
    v6.sin6_family = AF_INET6;
    v6.sin6_port = htons(7);
    const uint8_t bytes[] = {0x20, 0x01, 0x0d, 0xb8, 0, 1, 0, 2, 0, 0, 0, 0, 0, 0, 0, 9};
    std::copy(std::begin(bytes), std::end(bytes), v6.sin6_addr.s6_addr);
    CHECK(peer_address(address).host == "2001:db8:1:2::9");
    CHECK(peer_address(address).network == "2001:db8:1:2::/64");
    CHECK(peer_address(address).port == 7);
  }

  TEST_CASE("listening socket: without descriptors clients are sent away, and later ones are taken") {
    auto socket = ListeningSocket::open("127.0.0.1", 0);
    REQUIRE(socket.ok());
    std::vector<Descriptor> clients;
    for (int i = 0; i < 20; ++i) clients.push_back(make_client());
    const Descriptor later = make_client();
    {
      const NoDescriptors none;
      for (const Descriptor& client : clients) REQUIRE(connect_to(client, socket->port()));
      CHECK(wait_until([&] {
        CHECK_FALSE(socket->accept());
        return socket->sent_away() == clients.size();
      }));
      CHECK(socket->short_of() == EMFILE);
      for (const Descriptor& client : clients) CHECK(hung_up(client));
    }
    REQUIRE(connect_to(later, socket->port()));
    CHECK(wait_until([&] { return socket->accept().has_value(); }));
    CHECK(wait_until([&] { return socket->short_of() == 0; }));
  }
}

}  // namespace headgate
