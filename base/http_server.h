// A small HTTP server for probes, metrics, status pages and a few orders: GET (with HEAD) and POST with a small body,
// one response a connection. What it cannot take is answered with 400, 404, 405, 408, 411, 413 or 431 and a line that
// says why.
//
// Handlers run on the server's few threads; they must be thread-safe and quick. Construct, add routes, start(), stop().
// Requests are read whole before one of these threads sees them (http_connections.h): slow clients hold nobody up.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/metrics.h"
#include "base/status.h"

namespace headgate {

struct HttpRequest {
  std::string path;
  std::vector<std::string> parts;  // what stood in the places of {}
  std::map<std::string, std::string> query;
  std::string body;           // of POST
  std::string authorization;  // the header
  std::string origin;         // the header; a browser sets it when a page of another site asks
};

struct HttpResponse {
  int status = 200;
  std::string content_type = "text/plain; charset=utf-8";
  std::string body;
  std::map<std::string, std::string> headers = {};  // further ones
};

using HttpHandler = std::function<HttpResponse(const HttpRequest&)>;

struct HttpServerSettings {
  std::string address = "0.0.0.0";
  int port = 0;  // 0: any free port, see port()
  int threads = 4;
  Duration request_time{2'000};  // for a client to send it all
  Duration answer_time{5'000};   // for him to take the answer
};

class HttpServer {
 public:
  explicit HttpServer(HttpServerSettings settings);
  // Stops.
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  static constexpr size_t kBodyMax = 64 * 1024;

  // `/` lists the routes unless it is one.
  // REQUIRES: not started. `path` is matched whole; a {} in it stands for one part of a path, up to the next slash.
  void route(const std::string& path, HttpHandler handler);
  void route_post(const std::string& path, HttpHandler handler);
  // What is said to these bytes, as it goes over the wire; the connection ends behind it. Whatever they are.
  // Thread-safe.
  std::string answer(const std::string& request);
  // Binds and answers from now on. UNAVAILABLE when the address cannot be bound.
  Status start();
  // The bound port; 0 before start().
  int port() const;
  // Returns within a second; open requests are answered or cut. May be called twice.
  void stop();
  struct Load {
    size_t connections = 0;
    uint64_t ended = 0;  // clients that were too slow, or had to make room for others
  };
  Load load() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// `server` is borrowed until the last scrape.
void add_http_metrics(Metrics& metrics, const HttpServer& server);

}  // namespace headgate
