#include "base/http_connections.h"

#include <pthread.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <algorithm>
#include <optional>

#include "base/log.h"

namespace headgate {
namespace {

constexpr uint64_t kListeningId = 0, kWakeId = 1;
constexpr int kEventsAtOnce = 64;
constexpr size_t kLeftUnread = 256 * 1024;  // what is read and thrown away of a request that was refused
constexpr Duration kLeaveTime{500};
constexpr Duration kShortPause{10};

std::string plain(const char* status, const std::string& why) {
  return fmt::format(
      "HTTP/1.1 {}\r\nConnection: close\r\nContent-Type: text/plain; charset=utf-8\r\n"
      "Content-Length: {}\r\n\r\n{}\n",
      status, why.size() + 1, why);
}

// The value of a header; nothing when there is none. `head` ends with the empty line.
std::optional<std::string> header(std::string_view head, std::string_view name) {
  for (size_t at = head.find("\r\n"); at != std::string_view::npos && at + 2 < head.size();
       at = head.find("\r\n", at + 2)) {
    const std::string_view line = head.substr(at + 2, head.find("\r\n", at + 2) - at - 2);
    if (line.size() <= name.size() || line[name.size()] != ':') continue;
    if (::strncasecmp(line.data(), name.data(), name.size()) != 0) continue;
    std::string value(line.substr(name.size() + 1));
    value.erase(0, value.find_first_not_of(" \t"));
    return value;
  }
  return std::nullopt;
}

}  // namespace

HttpConnections::HttpConnections(ListeningSocket socket, HttpConnectionsSettings settings, Answer answer)
    : settings_(settings),
      answer_(std::move(answer)),
      socket_(std::move(socket)),
      port_(socket_.port()),
      epoll_(::epoll_create1(EPOLL_CLOEXEC)),
      wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      last_id_(kWakeId) {
  HG_CHECK(epoll_.valid() && wake_.valid());
  const auto add = [this](const Descriptor& watched, uint64_t id) {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.u64 = id;
    ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, watched.get(), &event);
  };
  for (const Descriptor& listening : socket_.sockets()) add(listening, kListeningId);
  add(wake_, kWakeId);
  for (int i = 0; i < settings_.threads; ++i) {
    workers_.emplace_back([this](std::stop_token stop) { work(stop); });
  }
  thread_ = std::jthread([this](std::stop_token stop) { run(stop); });
  pthread_setname_np(thread_.native_handle(), "http");
}

HttpConnections::~HttpConnections() {
  for (std::jthread& worker : workers_) worker.request_stop();
  workers_.clear();
  // What was answered by now still goes out, as far as clients take it at once.
  thread_.request_stop();
  thread_.join();
}

void HttpConnections::work(std::stop_token stop) {
  for (;;) {
    std::pair<uint64_t, std::string> request;
    {
      MutexLock lock(mutex_);
      if (!requested_.wait(mutex_, stop, [this]() REQUIRES_LOCK(mutex_) { return !requests_.empty(); })) return;
      request = std::move(requests_.front());
      requests_.pop_front();
    }
    std::string text = answer_(request.second);
    {
      MutexLock lock(mutex_);
      answers_.emplace_back(request.first, std::move(text));
    }
    ::eventfd_write(wake_.get(), 1);
  }
}

void HttpConnections::run(std::stop_token stop) {
  const std::stop_callback on_stop(stop, [this] { ::eventfd_write(wake_.get(), 1); });
  while (!stop.stop_requested()) {
    epoll_event events[kEventsAtOnce];
    const int count = ::epoll_wait(epoll_.get(), events, kEventsAtOnce, static_cast<int>(until_next().count()));
    bool waiting = false;
    for (int i = 0; i < count; ++i) {
      const uint64_t id = events[i].data.u64;
      if (id == kListeningId) waiting = true;
      if (id == kWakeId) {
        eventfd_t ignored;
        ::eventfd_read(wake_.get(), &ignored);
      }
      if (const auto at = connections_.find(id); at != connections_.end()) {
        if (at->second.phase == Phase::kWriting) {
          on_writable(at);
        } else {
          on_readable(at);
        }
      }
    }
    take_answers();
    end_late();
    // Last, so that what can be read of those who are there is read before one of them has to make room.
    if (waiting) accept_some();
    if (waiting && socket_.short_of() != 0) system_clock().sleep(kShortPause, stop);
  }
  take_answers();
}

void HttpConnections::accept_some() {
  for (int i = 0; i < kEventsAtOnce; ++i) {
    auto client = socket_.accept();
    if (!client) return;
    if (connections_.size() >= settings_.connections_max && !make_room()) {
      ++ended_;
      continue;
    }
    const MonotonicTime now = system_clock().now();
    const uint64_t id = ++last_id_;
    const auto at = connections_.emplace(id, Connection{std::move(client->socket)}).first;
    at->second.since = now;
    at->second.until = now + settings_.request_time;
    open_ = connections_.size();
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.u64 = id;
    ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, at->second.socket.get(), &event);
    // Most have said it all by now.
    on_readable(at);
  }
}

bool HttpConnections::make_room() {
  auto oldest = connections_.end();
  for (auto at = connections_.begin(); at != connections_.end(); ++at) {
    if (at->second.phase == Phase::kAnswering) continue;
    if (oldest == connections_.end() || at->second.since < oldest->second.since) oldest = at;
  }
  if (oldest == connections_.end()) return false;
  ++ended_;
  erase(oldest);
  return true;
}

void HttpConnections::on_readable(Connections::iterator at) {
  Connection& one = at->second;
  char buffer[16 * 1024];
  for (;;) {
    const ssize_t got = ::recv(one.socket.get(), buffer, sizeof(buffer), 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (one.phase == Phase::kAnswering) {
      // A second request, or the end of what the client has to say: neither matters any more.
      epoll_event none{};
      ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, one.socket.get(), &none);
      return;
    }
    if (got == 0 && one.phase == Phase::kReading && !one.bytes.empty()) return hand_over(at);
    if (got <= 0) return erase(at);
    if (one.phase == Phase::kLeaving) {
      one.written += static_cast<size_t>(got);
      if (one.written > kLeftUnread) return erase(at);
      continue;
    }
    one.bytes.append(buffer, static_cast<size_t>(got));
    if (whole(one.bytes)) return hand_over(at);
    if (one.bytes.find("\r\n\r\n") == std::string::npos && one.bytes.size() > settings_.header_bytes_max) {
      return answer(at, plain("431 Request Header Fields Too Large",
                              fmt::format("the headers are larger than {} bytes", settings_.header_bytes_max)));
    }
  }
}

bool HttpConnections::whole(const std::string& bytes) const {
  const size_t end = bytes.find("\r\n\r\n");
  if (end == std::string::npos) return false;
  const std::string_view head = std::string_view(bytes).substr(0, end + 4);
  // Refused without a look at the body.
  if (header(head, "Transfer-Encoding")) return true;
  const auto length = header(head, "Content-Length");
  if (!length) return true;
  const size_t body = std::strtoull(length->c_str(), nullptr, 10);
  return body > settings_.body_bytes_max || bytes.size() >= head.size() + body;
}

void HttpConnections::hand_over(Connections::iterator at) {
  Connection& one = at->second;
  const size_t end = one.bytes.find("\r\n\r\n");
  if (end == std::string::npos) {
    return answer(at, plain("408 Request Timeout", "the request did not come to its end in time"));
  }
  if (header(std::string_view(one.bytes).substr(0, end + 4), "Transfer-Encoding")) {
    return answer(at, plain("411 Length Required", "a body needs a Content-Length"));
  }
  one.phase = Phase::kAnswering;
  {
    MutexLock lock(mutex_);
    requests_.emplace_back(at->first, std::exchange(one.bytes, {}));
  }
  requested_.notify_one();
}

void HttpConnections::take_answers() {
  std::vector<std::pair<uint64_t, std::string>> answers;
  {
    MutexLock lock(mutex_);
    answers.swap(answers_);
  }
  for (auto& [id, text] : answers) {
    if (const auto at = connections_.find(id); at != connections_.end()) answer(at, std::move(text));
  }
}

void HttpConnections::answer(Connections::iterator at, std::string text) {
  Connection& one = at->second;
  one.phase = Phase::kWriting;
  one.bytes = std::move(text);
  one.written = 0;
  one.since = system_clock().now();
  one.until = one.since + settings_.answer_time;
  epoll_event event{};
  event.events = EPOLLOUT;
  event.data.u64 = at->first;
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, one.socket.get(), &event) != 0) {
    ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, one.socket.get(), &event);
  }
  on_writable(at);
}

void HttpConnections::on_writable(Connections::iterator at) {
  Connection& one = at->second;
  while (one.written < one.bytes.size()) {
    const ssize_t sent =
        ::send(one.socket.get(), one.bytes.data() + one.written, one.bytes.size() - one.written, MSG_NOSIGNAL);
    if (sent < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (sent < 0) return erase(at);
    one.written += static_cast<size_t>(sent);
  }
  // A socket that is closed with bytes unread takes the answer back from a client who is still sending.
  ::shutdown(one.socket.get(), SHUT_WR);
  one.phase = Phase::kLeaving;
  one.bytes = {};
  one.written = 0;
  one.until = system_clock().now() + kLeaveTime;
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = at->first;
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, one.socket.get(), &event);
  on_readable(at);
}

void HttpConnections::end_late() {
  const MonotonicTime now = system_clock().now();
  std::vector<uint64_t> late;
  for (const auto& [id, one] : connections_) {
    if (one.phase != Phase::kAnswering && one.until <= now) late.push_back(id);
  }
  for (const uint64_t id : late) {
    const auto at = connections_.find(id);
    if (at->second.phase != Phase::kLeaving) ++ended_;
    if (at->second.phase == Phase::kReading && !at->second.bytes.empty()) {
      hand_over(at);
    } else {
      erase(at);
    }
  }
}

void HttpConnections::erase(Connections::iterator at) {
  connections_.erase(at);
  open_ = connections_.size();
}

Duration HttpConnections::until_next() const {
  MonotonicTime next = system_clock().now() + std::chrono::hours(1);
  for (const auto& [id, one] : connections_) {
    if (one.phase != Phase::kAnswering) next = std::min(next, one.until);
  }
  const auto left = std::chrono::ceil<Duration>(next - system_clock().now());
  return std::max(left, Duration(0));
}

}  // namespace headgate
