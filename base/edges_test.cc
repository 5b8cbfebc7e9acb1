// Metrics, the HTTP server and signals: the parts of the floor that face operators.
#include <arpa/inet.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#define CPPHTTPLIB_OPENSSL_SUPPORT
#define CPPHTTPLIB_ZLIB_SUPPORT
#define CPPHTTPLIB_BROTLI_SUPPORT
#include <httplib.h>

#include "base/clock.h"
#include "base/http_server.h"
#include "base/metrics.h"
#include "base/process_metrics.h"
#include "base/signals.h"
#include "tests/support/test_main.h"

namespace headgate {

namespace {

// What the server says to these bytes, until it hangs up.
std::string raw_answer(int port, const std::string& request) {
  const int connection = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  std::string answer;
  if (connect(connection, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0 &&
      send(connection, request.data(), request.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(request.size())) {
    char buffer[4096];
    for (ssize_t got = 0; (got = recv(connection, buffer, sizeof(buffer), 0)) > 0;) answer.append(buffer, got);
  }
  close(connection);
  return answer;
}

}  // namespace

TEST_SUITE("base/edges") {
  TEST_CASE("metrics: what was counted is exposed with its labels") {
    Metrics metrics;
    metrics.counter("headgate_x_total", "How many.", {{"kind", "a"}}).Increment(3);
    metrics.gauge("headgate_y", "How much.").Set(2);
    metrics.histogram("headgate_z_seconds", "How long.").Observe(0.002);
    metrics.gauge_from("headgate_asked", "Asked.", {}, [] { return 7.0; });
    double counted = 4;
    metrics.counter_from("headgate_elsewhere_total", "Counted elsewhere.", {}, [&] { return counted; });
    metrics.exposition();
    counted = 9;
    const std::string text = metrics.exposition();
    CHECK(text.find("# TYPE headgate_elsewhere_total counter") != std::string::npos);
    CHECK(text.find("headgate_elsewhere_total 9") != std::string::npos);
    CHECK(text.find("# HELP headgate_x_total How many.") != std::string::npos);
    CHECK(text.find("headgate_x_total{kind=\"a\"} 3") != std::string::npos);
    CHECK(text.find("headgate_y 2") != std::string::npos);
    CHECK(text.find("headgate_z_seconds_bucket{le=\"0.0025\"} 1") != std::string::npos);
    CHECK(text.find("headgate_asked 7") != std::string::npos);
  }

  TEST_CASE("metrics: the process tells what it is and what it uses") {
    Metrics metrics;
    add_process_metrics(metrics, {"headgate-x", "1.2", "abc"});
    const std::string text = metrics.exposition();
    CHECK(text.find("headgate_build_info{commit=\"abc\",program=\"headgate-x\",version=\"1.2\"} 1") !=
          std::string::npos);
    const auto value = [&](const std::string& name) {
      const size_t at = text.find("\n" + name + " ");
      return at == std::string::npos ? -1.0 : std::strtod(text.c_str() + at + name.size() + 2, nullptr);
    };
    const double now = static_cast<double>(system_clock().unix_micros()) / 1e6;
    CHECK(value("process_start_time_seconds") > now - 3600);
    CHECK(value("process_start_time_seconds") < now + 60);
    CHECK(value("process_cpu_seconds_total") >= 0);
    CHECK(value("process_resident_memory_bytes") > 1e6);
    CHECK(value("process_virtual_memory_bytes") >= value("process_resident_memory_bytes"));
    CHECK(value("process_threads") >= 1);
    CHECK(value("process_open_fds") >= 3);
    CHECK(value("process_max_fds") >= value("process_open_fds"));
  }

  TEST_CASE("metrics: the same name and labels give the same metric") {
    Metrics metrics;
    Counter& one = metrics.counter("headgate_x_total", "How many.", {{"kind", "a"}});
    CHECK(&one == &metrics.counter("headgate_x_total", "How many.", {{"kind", "a"}}));
    CHECK(&one != &metrics.counter("headgate_x_total", "How many.", {{"kind", "b"}}));
  }

  TEST_CASE("http server: routes answer on a free port, others with 404") {
    HttpServer server({.address = "127.0.0.1"});
    server.route("/hello", [](const HttpRequest& request) {
      return HttpResponse{503, "text/plain", "hi " + (request.query.count("n") ? request.query.at("n") : "")};
    });
    REQUIRE(server.start().ok());
    httplib::Client client("127.0.0.1", server.port());
    const auto hello = client.Get("/hello?n=you");
    REQUIRE(hello);
    CHECK(hello->status == 503);
    CHECK(hello->body == "hi you");
    const auto other = client.Get("/other");
    REQUIRE(other);
    CHECK(other->status == 404);
  }

  TEST_CASE("http server: a POST brings its body, and parts of its path") {
    HttpServer server({.address = "127.0.0.1"});
    server.route("/things/{}", [](const HttpRequest& in) { return HttpResponse{200, "text/plain", in.parts[0]}; });
    server.route_post("/things/{}/turn", [](const HttpRequest& in) {
      return HttpResponse{202, "text/plain", in.parts[0] + "|" + in.query.at("by") + "|" + in.body + in.authorization};
    });
    REQUIRE(server.start().ok());
    httplib::Client client("127.0.0.1", server.port());
    const auto turned = client.Post("/things/a%20b/turn?by=x%2Fy", "left", "text/plain");
    REQUIRE(turned);
    CHECK(turned->status == 202);
    CHECK(turned->body == "a b|x/y|left");
    const auto keyed = client.Post("/things/a/turn?by=1", {{"Authorization", "Bearer k"}}, "", "text/plain");
    REQUIRE(keyed);
    CHECK(keyed->body == "a|1|Bearer k");
    CHECK(client.Get("/things/a.b")->body == "a.b");
  }

  TEST_CASE("http server: what it cannot take is refused with a reason, also without a body") {
    HttpServer server({.address = "127.0.0.1"});
    server.route("/page", [](const HttpRequest&) { return HttpResponse{200, "text/plain", "page"}; });
    server.route_post("/order", [](const HttpRequest&) { return HttpResponse{200, "text/plain", "done"}; });
    REQUIRE(server.start().ok());
    httplib::Client client("127.0.0.1", server.port());
    const auto posted = client.Post("/page", "x", "text/plain");
    REQUIRE(posted);
    CHECK(posted->status == 405);
    CHECK(posted->get_header_value("Allow") == "GET");
    CHECK(posted->body == "POST cannot be used with /page; use GET\n");
    CHECK(client.Get("/order")->status == 405);
    CHECK(client.Delete("/page")->status == 405);
    CHECK(client.Head("/page")->status == 200);
    CHECK(client.Get("/pageX")->status == 404);
    CHECK(client.Get("/other")->body == "nothing is at /other; / tells what there is\n");
    CHECK(client.Get("/")->body == "GET  /page\nPOST /order\n");
    CHECK(client.Post("/order", std::string(HttpServer::kBodyMax, 'x'), "text/plain")->status == 200);
    const auto large = client.Post("/order", std::string(HttpServer::kBodyMax + 1, 'x'), "text/plain");
    REQUIRE(large);
    CHECK(large->status == 413);
    CHECK(large->body == "the body is larger than 65536 bytes\n");
    // As `curl -X POST` does it: without any length.
    CHECK(raw_answer(server.port(), "POST /order HTTP/1.1\r\nHost: x\r\n\r\n").find("done") != std::string::npos);
    const std::string cut = raw_answer(server.port(), "POST /order HTTP/1.1\r\nContent-Length: 9\r\n\r\nhalf");
    CHECK(cut.find("HTTP/1.1 400") == 0);
    CHECK(cut.find("whole body") != std::string::npos);
  }

  TEST_CASE("http server: an address in use is refused") {
    HttpServer first({.address = "127.0.0.1"});
    REQUIRE(first.start().ok());
    HttpServer second({.address = "256.0.0.1", .port = 80});
    CHECK(second.start().code() == StatusCode::kUnavailable);
  }

  TEST_CASE("http server: stop returns within a second although a client holds a connection") {
    HttpServer server({.address = "127.0.0.1"});
    REQUIRE(server.start().ok());
    httplib::Client client("127.0.0.1", server.port());
    client.set_keep_alive(true);
    client.Get("/x");
    const auto before = std::chrono::steady_clock::now();
    server.stop();
    CHECK(std::chrono::steady_clock::now() - before < std::chrono::seconds(1));
    server.stop();
  }

  TEST_CASE("signals: SIGTERM asks for a stop") {
    SignalStop signals;
    CHECK_FALSE(signals.token().stop_requested());
    kill(getpid(), SIGTERM);
    signals.wait();
    CHECK(signals.token().stop_requested());
  }
}

}  // namespace headgate
