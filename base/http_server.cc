#include "base/http_server.h"

// As Debian builds the library; the layout of its classes depends on it.
#define CPPHTTPLIB_OPENSSL_SUPPORT
#define CPPHTTPLIB_ZLIB_SUPPORT
#define CPPHTTPLIB_BROTLI_SUPPORT
#include <httplib.h>

#include <sys/resource.h>

#include <optional>

#include "base/http_connections.h"

namespace headgate {

namespace {

// What stands in the places of {}; nothing when the path is another one.
std::optional<std::vector<std::string>> match(const std::string& pattern, const std::string& path) {
  std::vector<std::string> parts;
  size_t at = 0;
  for (size_t i = 0; i < pattern.size(); ++i) {
    if (pattern.compare(i, 2, "{}") == 0) {
      const size_t end = std::min(path.find('/', at), path.size());
      if (end == at) return std::nullopt;
      parts.push_back(path.substr(at, end - at));
      at = end;
      ++i;
    } else if (at >= path.size() || path[at++] != pattern[i]) {
      return std::nullopt;
    }
  }
  if (at != path.size()) return std::nullopt;
  return parts;
}

void refuse(httplib::Response& out, int status, const std::string& why) {
  out.status = status;
  out.set_content(why + "\n", "text/plain; charset=utf-8");
}

bool has_body(const httplib::Request& in) {
  return in.has_header("Content-Length") || in.has_header("Transfer-Encoding");
}

// A request that has come, and room for what is said to it.
class MemoryStream : public httplib::Stream {
 public:
  explicit MemoryStream(const std::string& request) : left_(request) {}

  bool is_readable() const override { return true; }
  bool is_writable() const override { return true; }
  ssize_t read(char* to, size_t size) override {
    const size_t count = std::min(size, left_.size());
    left_.copy(to, count);
    left_.remove_prefix(count);
    return static_cast<ssize_t>(count);
  }
  ssize_t write(const char* from, size_t size) override {
    said_.append(from, size);
    return static_cast<ssize_t>(size);
  }
  void get_remote_ip_and_port(std::string& ip, int& port) const override { port = 0; }
  void get_local_ip_and_port(std::string& ip, int& port) const override { port = 0; }
  socket_t socket() const override { return INVALID_SOCKET; }
  std::string said() && { return std::move(said_); }

 private:
  std::string_view left_;
  std::string said_;
};

// An eighth of the descriptors at most: the port is for probes and people.
size_t places() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return 128;
  return std::clamp<size_t>(limit.rlim_cur / 8, 4, 128);
}

}  // namespace

struct HttpServer::Impl {
  // The library reads requests and writes responses. Sockets are not its business: it lets four silent clients hold
  // four threads, and stops listening when memory is short.
  class HttpText : public httplib::Server {
   public:
    std::string answer(const std::string& request) {
      MemoryStream stream(request);
      bool closed = false;
      process_request(stream, true, closed, nullptr);
      return std::move(stream).said();
    }
  };

  struct Route {
    std::string method;
    std::string path;
    HttpHandler handler;
  };

  HttpServerSettings settings;
  std::vector<Route> routes;
  HttpText server;
  int port = 0;
  Mutex mutex;
  std::unique_ptr<HttpConnections> connections GUARDED_BY(mutex);

  void add(const std::string& method, const std::string& path, HttpHandler handler) {
    routes.push_back({method, path, std::move(handler)});
  }

  static void answer(const Route& route, std::vector<std::string> parts, const httplib::Request& in,
                     httplib::Response& out) {
    HttpRequest request;
    request.path = in.path;
    request.parts = std::move(parts);
    for (const auto& [name, value] : in.params) request.query[name] = value;
    request.body = in.body;
    request.authorization = in.get_header_value("Authorization");
    request.origin = in.get_header_value("Origin");
    const HttpResponse response = route.handler(request);
    out.status = response.status;
    for (const auto& [name, value] : response.headers) out.set_header(name, value);
    out.set_content(response.body, response.content_type);
  }

  std::string index() const {
    std::string text;
    for (const Route& route : routes) text += fmt::format("{:<4} {}\n", route.method, route.path);
    return text;
  }

  // What can be answered without the body, which nobody has read yet. False: read it.
  bool answer_at_once(const httplib::Request& in, httplib::Response& out) const {
    const std::string method = in.method == "HEAD" ? "GET" : in.method;
    std::string allowed;
    for (const Route& route : routes) {
      auto parts = match(route.path, in.path);
      if (!parts) continue;
      if (route.method == method) {
        // Without a length the library would read until the client hangs up.
        if (method == "POST" && has_body(in)) return false;
        answer(route, *std::move(parts), in, out);
        return true;
      }
      allowed += (allowed.empty() ? "" : ", ") + route.method;
    }
    if (allowed.empty() && in.path == "/" && method == "GET") {
      out.set_content(index(), "text/plain; charset=utf-8");
    } else if (allowed.empty()) {
      refuse(out, 404, fmt::format("nothing is at {}; / tells what there is", in.path));
    } else {
      out.set_header("Allow", allowed);
      refuse(out, 405, fmt::format("{} cannot be used with {}; use {}", in.method, in.path, allowed));
    }
    return true;
  }

  void answer_with_body(const httplib::Request& in, httplib::Response& out) const {
    for (const Route& route : routes) {
      auto parts = match(route.path, in.path);
      if (parts && route.method == "POST") return answer(route, *std::move(parts), in, out);
    }
  }
};

HttpServer::HttpServer(HttpServerSettings settings) : impl_(std::make_unique<Impl>()) {
  impl_->settings = std::move(settings);
  httplib::Server& server = impl_->server;
  server.set_payload_max_length(kBodyMax);
  server.set_pre_routing_handler([this](const httplib::Request& in, httplib::Response& out) {
    return impl_->answer_at_once(in, out) ? httplib::Server::HandlerResponse::Handled
                                          : httplib::Server::HandlerResponse::Unhandled;
  });
  server.Post(".*", [this](const httplib::Request& in, httplib::Response& out) { impl_->answer_with_body(in, out); });
  server.set_error_handler([](const httplib::Request&, httplib::Response& out) {
    if (!out.body.empty()) return;
    refuse(out, out.status,
           out.status == 413 ? fmt::format("the body is larger than {} bytes", kBodyMax)
                             : "the request cannot be read; it must be GET, or POST with a whole body");
  });
}

HttpServer::~HttpServer() { stop(); }

void HttpServer::route(const std::string& path, HttpHandler handler) { impl_->add("GET", path, std::move(handler)); }

void HttpServer::route_post(const std::string& path, HttpHandler handler) {
  impl_->add("POST", path, std::move(handler));
}

Status HttpServer::start() {
  HG_ASSIGN_OR_RETURN(ListeningSocket socket, ListeningSocket::open(impl_->settings.address, impl_->settings.port));
  impl_->port = socket.port();
  HttpConnectionsSettings settings;
  settings.threads = impl_->settings.threads;
  settings.request_time = impl_->settings.request_time;
  settings.answer_time = impl_->settings.answer_time;
  settings.connections_max = places();
  settings.body_bytes_max = kBodyMax;
  MutexLock lock(impl_->mutex);
  impl_->connections = std::make_unique<HttpConnections>(
      std::move(socket), settings, [this](const std::string& request) { return answer(request); });
  return ok_status();
}

std::string HttpServer::answer(const std::string& request) { return impl_->server.answer(request); }

int HttpServer::port() const { return impl_->port; }

void HttpServer::stop() {
  std::unique_ptr<HttpConnections> connections;
  {
    MutexLock lock(impl_->mutex);
    connections = std::move(impl_->connections);
  }
}

HttpServer::Load HttpServer::load() const {
  MutexLock lock(impl_->mutex);
  if (impl_->connections == nullptr) return {};
  return {impl_->connections->open(), impl_->connections->ended()};
}

void add_http_metrics(Metrics& metrics, const HttpServer& server) {
  metrics.gauge_from("headgate_http_connections", "Open connections to the admin port.", {},
                     [&server] { return static_cast<double>(server.load().connections); });
  metrics.counter_from("headgate_http_connections_ended_total",
                       "Connections to the admin port that were too slow, or had to make room for others.", {},
                       [&server] { return static_cast<double>(server.load().ended); });
}

}  // namespace headgate
