// Clients of the HTTP server that are slow, silent, large or many.
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <chrono>
#include <vector>

#include "base/descriptor.h"
#include "base/http_server.h"
#include "tests/support/test_main.h"

namespace headgate {
namespace {

using headgate::testing::wait_until;
using std::chrono::steady_clock;
using namespace std::chrono_literals;

Descriptor connected_to(int port) {
  Descriptor client(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  REQUIRE(::connect(client.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0);
  return client;
}

void say(const Descriptor& client, const std::string& text) {
  ::send(client.get(), text.data(), text.size(), MSG_NOSIGNAL);
}

// All that comes until the server hangs up, within ten seconds.
std::string heard(const Descriptor& client) {
  std::string text;
  char buffer[16 * 1024];
  pollfd waiting{client.get(), POLLIN, 0};
  while (::poll(&waiting, 1, 10'000) == 1) {
    const ssize_t got = ::recv(client.get(), buffer, sizeof(buffer), 0);
    if (got <= 0) return text;
    text.append(buffer, static_cast<size_t>(got));
  }
  return text + "(and no end)";
}

std::string ask(int port, const std::string& request) {
  const Descriptor client = connected_to(port);
  say(client, request);
  return heard(client);
}

const std::string kProbe = "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n";

bool probe_answers_within(int port, std::chrono::milliseconds limit) {
  const auto before = steady_clock::now();
  const std::string answer = ask(port, kProbe);
  CAPTURE(answer);
  return answer.rfind("HTTP/1.1 200", 0) == 0 && steady_clock::now() - before < limit;
}

#ifdef HEADGATE_SANITIZED
constexpr auto kSoon = 10s;
#else
constexpr auto kSoon = 1s;
#endif

struct Served {
  Served() : server({.address = "127.0.0.1", .request_time = Duration(400), .answer_time = Duration(800)}) {
    server.route("/livez", [](const HttpRequest&) { return HttpResponse{200, "text/plain", "ok\n"}; });
    server.route("/large", [](const HttpRequest&) {
      return HttpResponse{200, "text/plain", std::string(8 << 20, 'x')};
    });
    server.route_post("/order", [](const HttpRequest& in) { return HttpResponse{200, "text/plain", in.body}; });
    REQUIRE(server.start().ok());
  }
  HttpServer server;
  int port() const { return server.port(); }
};

}  // namespace

TEST_SUITE("base/http_flood") {
  TEST_CASE("http flood: clients that say nothing, or only the beginning, hold up nobody and are ended") {
    const Served served;
    for (const std::string& beginning : {std::string(), std::string("GET /livez HT"),
                                         std::string("POST /order HTTP/1.1\r\nContent-Length: 100\r\n\r\nhalf")}) {
      CAPTURE(beginning);
      std::vector<Descriptor> silent;
      for (int i = 0; i < 300; ++i) {
        silent.push_back(connected_to(served.port()));
        say(silent.back(), beginning);
      }
      CHECK(probe_answers_within(served.port(), kSoon));
      CHECK(served.server.load().connections <= 128);
      CHECK(wait_until([&] { return served.server.load().connections == 0; }));
      CHECK(served.server.load().ended >= 300);
      CHECK(heard(silent.front()).find("(and no end)") == std::string::npos);
    }
  }

  TEST_CASE("http flood: one byte at a time does not lengthen the time of a request") {
    const Served served;
    const Descriptor slow = connected_to(served.port());
    const auto before = steady_clock::now();
    const std::string request = "GET /livez HTTP/1.1\r\nX: " + std::string(10'000, 'x');
    size_t said = 0;
    pollfd waiting{slow.get(), POLLIN, 0};
    while (said < request.size() && ::poll(&waiting, 1, 5) == 0) say(slow, request.substr(said++, 1));
    CHECK(steady_clock::now() - before < 4s);
    CHECK(heard(slow).rfind("HTTP/1.1 408", 0) == 0);
  }

  TEST_CASE("http flood: clients that do not take their answer hold up nobody and are ended") {
    const Served served;
    std::vector<Descriptor> deaf;
    for (int i = 0; i < 20; ++i) {
      deaf.push_back(connected_to(served.port()));
      say(deaf.back(), "GET /large HTTP/1.1\r\nHost: x\r\n\r\n");
    }
    for (int i = 0; i < 5; ++i) CHECK(probe_answers_within(served.port(), kSoon));
    CHECK(wait_until([&] { return served.server.load().connections == 0; }));
  }

  TEST_CASE("http flood: headers, bodies and forms without a bound are refused in words") {
    const Served served;
    const std::string long_head = "GET /livez HTTP/1.1\r\nX: " + std::string(20'000, 'x');
    CHECK(ask(served.port(), long_head).find("HTTP/1.1 431") == 0);
    std::string many = "GET /livez HTTP/1.1\r\n";
    for (int i = 0; i < 4'000; ++i) many += "X: y\r\n";
    CHECK(ask(served.port(), many).find("HTTP/1.1 431") == 0);
    CHECK(ask(served.port(), "POST /order HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n").find("HTTP/1.1 411") == 0);
    CHECK(ask(served.port(), "POST /order HTTP/1.1\r\nContent-Length: 99999999999999\r\n\r\nx").find("HTTP/1.1 413") ==
          0);
    CHECK(ask(served.port(), "POST /order HTTP/1.1\r\ncontent-length: 3\r\n\r\nabc").find("\r\n\r\nabc") !=
          std::string::npos);
    CHECK(ask(served.port(), "nonsense\r\n\r\n").find("HTTP/1.1 400") == 0);
  }

  TEST_CASE("http flood: a large answer arrives whole") {
    const Served served;
    CHECK(ask(served.port(), "GET /large HTTP/1.1\r\nHost: x\r\n\r\n").size() > size_t{8} << 20);
  }

  TEST_CASE("http flood: the end of the server does not wait for silent clients") {
    auto served = std::make_unique<Served>();
    std::vector<Descriptor> silent;
    for (int i = 0; i < 50; ++i) silent.push_back(connected_to(served->port()));
    const auto before = steady_clock::now();
    served.reset();
    CHECK(steady_clock::now() - before < 1s);
  }
}

}  // namespace headgate
