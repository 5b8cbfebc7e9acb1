#include "sinks/redis/connection.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <csignal>
#include <cstring>

namespace headgate::sinks {
namespace {

constexpr Duration kSlice{50};

std::string_view text_of(const redisReply& reply) { return {reply.str, reply.len}; }

bool starts_with(std::string_view text, std::string_view word) { return text.substr(0, word.size()) == word; }

Status stopped() { return make_status(StatusCode::kCancelled, "stopped while waiting for Redis"); }

}  // namespace

Status check_redis_settings(const RedisConnectionSettings& settings) {
  if (settings.tls) {
    return invalid_argument(
        "redis: tls is not possible, because this build's hiredis 0.14 cannot do it; "
        "connect through a TLS proxy (stunnel, Envoy, a service mesh) on the same host and set tls to false");
  }
  if (!settings.user.empty() && settings.password.empty()) return invalid_argument("redis: a user needs a password");
  if (settings.unix_socket.empty() && settings.host.empty()) return invalid_argument("redis: host is missing");
  return ok_status();
}

Status status_of_error(std::string_view text) {
  if (starts_with(text, "OOM")) {
    return status_of(StatusCode::kResourceExhausted,
                     "redis refuses to write: {}; raise maxmemory, or keep less with the sink's max_length", text);
  }
  if (starts_with(text, "MISCONF")) {
    return status_of(StatusCode::kResourceExhausted, "redis refuses to write: {}", text);
  }
  if (starts_with(text, "FENCED")) return status_of(StatusCode::kFailedPrecondition, "redis: {}", text);
  for (const std::string_view word : {"LOADING", "READONLY", "MASTERDOWN", "CLUSTERDOWN", "BUSY", "TRYAGAIN",
                                      "NOREPLICAS", "NOSCRIPT", "ORDER", "UNBLOCKED"}) {
    if (starts_with(text, word)) return unavailable("redis: {}", text);
  }
  if (text.find("max number of clients") != std::string_view::npos) return unavailable("redis: {}", text);
  return invalid_argument("redis refuses: {}", text);
}

std::string RedisConnection::address() const {
  if (!settings_.unix_socket.empty()) return settings_.unix_socket;
  return fmt::format("{}:{}", settings_.host, settings_.port);
}

Status RedisConnection::await(short events, MonotonicTime deadline, std::stop_token stop) const {
  while (true) {
    pollfd watched{context_->fd, events, 0};
    const int ready = ::poll(&watched, 1, static_cast<int>(kSlice.count()));
    if (ready > 0) return ok_status();
    if (stop.stop_requested()) return stopped();
    if (std::chrono::steady_clock::now() > deadline) {
      return status_of(StatusCode::kDeadlineExceeded, "redis at {} does not answer in time", address());
    }
  }
}

Status RedisConnection::connect(std::stop_token stop) {
  queued_ = 0;
  redisContext* context = settings_.unix_socket.empty() ? redisConnectNonBlock(settings_.host.c_str(), settings_.port)
                                                        : redisConnectUnixNonBlock(settings_.unix_socket.c_str());
  context_.reset(context);
  if (context == nullptr) return make_status(StatusCode::kResourceExhausted, "redis: out of memory");
  if (context->err != 0) return unavailable("redis at {}: {}", address(), context->errstr);
  const Status ready = await(POLLOUT, std::chrono::steady_clock::now() + settings_.connect_timeout, stop);
  if (!ready.ok()) {
    return ready.code() == StatusCode::kDeadlineExceeded ? unavailable("redis at {}: no connection in time", address())
                                                         : ready;
  }
  int error = 0;
  socklen_t size = sizeof(error);
  ::getsockopt(context->fd, SOL_SOCKET, SO_ERROR, &error, &size);
  if (error != 0) return unavailable("redis at {}: {}", address(), std::strerror(error));
  redisEnableKeepAlive(context);
  return ok_status();
}

Status RedisConnection::open(std::stop_token stop) {
  // hiredis writes without MSG_NOSIGNAL; a server that hangs up must not end this process.
  std::signal(SIGPIPE, SIG_IGN);
  Status status = connect(stop);
  if (status.ok() && !settings_.password.empty()) {
    std::vector<std::string_view> auth{"AUTH"};
    if (!settings_.user.empty()) auth.emplace_back(settings_.user);
    auth.emplace_back(settings_.password);
    status = command(auth, stop).status();
  }
  if (status.ok() && settings_.database != 0) {
    const std::string number = std::to_string(settings_.database);
    status = command(std::array<std::string_view, 2>{"SELECT", number}, stop).status();
  }
  if (status.ok()) status = command(std::array<std::string_view, 1>{"PING"}, stop).status();
  if (!status.ok()) close();
  return status;
}

void RedisConnection::append(std::span<const std::string_view> arguments) {
  HG_CHECK(is_open());
  texts_.clear();
  lengths_.clear();
  for (const std::string_view argument : arguments) {
    texts_.push_back(argument.data() == nullptr ? "" : argument.data());
    lengths_.push_back(argument.size());
  }
  redisAppendCommandArgv(context_.get(), static_cast<int>(arguments.size()), texts_.data(), lengths_.data());
  ++queued_;
}

void RedisConnection::append(const RespCommands& commands) {
  HG_CHECK(is_open());
  redisAppendFormattedCommand(context_.get(), commands.text().data(), commands.text().size());
  queued_ += commands.count();
}

void RedisConnection::push() {
  int all_sent = 0;
  if (is_open() && context_->err == 0) redisBufferWrite(context_.get(), &all_sent);
}

Status RedisConnection::transfer(std::vector<Reply>& replies, MonotonicTime deadline, std::stop_token stop) {
  int all_sent = 0;
  while (queued_ > 0) {
    if (all_sent == 0 && redisBufferWrite(context_.get(), &all_sent) != REDIS_OK) break;
    void* reply = nullptr;
    while (queued_ > 0 && redisGetReplyFromReader(context_.get(), &reply) == REDIS_OK && reply != nullptr) {
      replies.emplace_back(static_cast<redisReply*>(reply));
      --queued_;
    }
    if (context_->err != 0) break;
    if (queued_ == 0) return ok_status();
    const short events = static_cast<short>(POLLIN | (all_sent == 0 ? POLLOUT : 0));
    HG_RETURN_IF_ERROR(await(events, deadline, stop));
    if (redisBufferRead(context_.get()) != REDIS_OK) break;
  }
  if (context_->err != 0) return unavailable("redis at {}: {}", address(), context_->errstr);
  return ok_status();
}

Status RedisConnection::exchange(std::vector<Reply>& replies, std::stop_token stop) {
  if (!is_open()) return unavailable("redis at {}: not connected", address());
  const Status status = transfer(replies, std::chrono::steady_clock::now() + settings_.command_timeout, stop);
  if (!status.ok()) close();
  return status;
}

StatusOr<Reply> RedisConnection::command(std::span<const std::string_view> arguments, std::stop_token stop) {
  if (!is_open()) return unavailable("redis at {}: not connected", address());
  append(arguments);
  std::vector<Reply> replies;
  HG_RETURN_IF_ERROR(exchange(replies, stop));
  HG_CHECK(replies.size() == 1);
  if (replies[0]->type == REDIS_REPLY_ERROR) return status_of_error(text_of(*replies[0]));
  return std::move(replies[0]);
}

}  // namespace headgate::sinks
