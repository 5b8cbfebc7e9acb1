// A small HTTP server for probes, metrics and status pages: GET only, no bodies, one response a connection.
//
// Handlers run on the server's few threads; they must be thread-safe and quick. Construct, add routes, start(), stop().
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "base/status.h"

namespace headgate {

struct HttpRequest {
  std::string path;
  std::map<std::string, std::string> query;
};

struct HttpResponse {
  int status = 200;
  std::string content_type = "text/plain; charset=utf-8";
  std::string body;
};

using HttpHandler = std::function<HttpResponse(const HttpRequest&)>;

struct HttpServerSettings {
  std::string address = "0.0.0.0";
  int port = 0;  // 0: any free port, see port()
  int threads = 4;
};

class HttpServer {
 public:
  explicit HttpServer(HttpServerSettings settings);
  // Stops.
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  // REQUIRES: not started. `path` is matched whole.
  void route(const std::string& path, HttpHandler handler);
  // Binds and answers from now on. UNAVAILABLE when the address cannot be bound.
  Status start();
  // The bound port; 0 before start().
  int port() const;
  // Returns within a second; open requests are answered or cut. May be called twice.
  void stop();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace headgate
