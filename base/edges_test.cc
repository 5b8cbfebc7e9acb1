// Metrics, the HTTP server and signals: the parts of the floor that face operators.
#include <signal.h>
#include <unistd.h>

#define CPPHTTPLIB_OPENSSL_SUPPORT
#define CPPHTTPLIB_ZLIB_SUPPORT
#define CPPHTTPLIB_BROTLI_SUPPORT
#include <httplib.h>

#include "base/http_server.h"
#include "base/metrics.h"
#include "base/signals.h"
#include "tests/support/test_main.h"

namespace headgate {

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
