#include "base/http_server.h"

// As Debian builds the library; the layout of its classes depends on it.
#define CPPHTTPLIB_OPENSSL_SUPPORT
#define CPPHTTPLIB_ZLIB_SUPPORT
#define CPPHTTPLIB_BROTLI_SUPPORT
#include <httplib.h>

#include <optional>
#include <thread>

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

}  // namespace

struct HttpServer::Impl {
  struct Route {
    std::string method;
    std::string path;
    HttpHandler handler;
  };

  HttpServerSettings settings;
  std::vector<Route> routes;
  httplib::Server server;
  int port = 0;
  std::jthread thread;

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
  const auto threads = static_cast<size_t>(impl_->settings.threads);
  server.new_task_queue = [threads]() -> httplib::TaskQueue* {
    return std::make_unique<httplib::ThreadPool>(threads).release();
  };
  // A connection is closed after one response and a silent one soon: stop() waits for the threads.
  server.set_keep_alive_max_count(1);
  server.set_keep_alive_timeout(1);
  server.set_read_timeout(0, 500'000);
  server.set_write_timeout(0, 500'000);
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
  const std::string& address = impl_->settings.address;
  const int wanted = impl_->settings.port;
  if (wanted == 0) {
    impl_->port = impl_->server.bind_to_any_port(address.c_str());
  } else {
    impl_->port = impl_->server.bind_to_port(address.c_str(), wanted) ? wanted : -1;
  }
  if (impl_->port <= 0) {
    impl_->port = 0;
    return unavailable("cannot bind {}:{} for HTTP", address, wanted);
  }
  impl_->thread = std::jthread([this] { impl_->server.listen_after_bind(); });
  // stop() before the listening loop runs would be lost.
  while (!impl_->server.is_running()) std::this_thread::yield();
  return ok_status();
}

int HttpServer::port() const { return impl_->port; }

void HttpServer::stop() {
  if (!impl_->thread.joinable()) return;
  impl_->server.stop();
  impl_->thread.join();
}

}  // namespace headgate
