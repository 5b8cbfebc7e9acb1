#include "base/http_server.h"

// As Debian builds the library; the layout of its classes depends on it.
#define CPPHTTPLIB_OPENSSL_SUPPORT
#define CPPHTTPLIB_ZLIB_SUPPORT
#define CPPHTTPLIB_BROTLI_SUPPORT
#include <httplib.h>

#include <thread>

namespace headgate {

struct HttpServer::Impl {
  HttpServerSettings settings;
  httplib::Server server;
  int port = 0;
  std::jthread thread;
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
  server.set_payload_max_length(64 * 1024);
}

HttpServer::~HttpServer() { stop(); }

void HttpServer::route(const std::string& path, HttpHandler handler) {
  impl_->server.Get(path, [handler = std::move(handler)](const httplib::Request& in, httplib::Response& out) {
    HttpRequest request;
    request.path = in.path;
    for (const auto& [name, value] : in.params) request.query[name] = value;
    const HttpResponse response = handler(request);
    out.status = response.status;
    out.set_content(response.body, response.content_type.c_str());
  });
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
