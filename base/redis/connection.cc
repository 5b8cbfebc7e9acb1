#include "base/redis/connection.h"

#include <array>

#include "base/redis/errors.h"
#include "base/refusals.h"

namespace headgate::redis {
namespace {

constexpr size_t kKeptBytes = 1 << 20;  // of an empty buffer's memory

}  // namespace

Connection::Connection(const ClientSettings& settings, Address address, Login login,
                       std::shared_ptr<const TlsContext> tls)
    : settings_(settings),
      address_(std::move(address)),
      name_(settings.mode == Mode::kSingle && !settings.unix_socket.empty() ? settings.unix_socket : text_of(address_)),
      login_(std::move(login)),
      tls_context_(std::move(tls)) {}

void Connection::close() {
  socket_.close();
  tls_.reset();
  reader_.reset();
  plain_.clear();
  out_.clear();
  in_.clear();
  sent_ = queued_ = 0;
}

Status Connection::at_server(const Status& status) const {
  if (status.ok() || status.code() == StatusCode::kCancelled) return status;
  return reworded(status, fmt::format("redis at {}: {}", name_, message_of(status)));
}

Status Connection::open(std::stop_token stop) {
  close();
  const Patience patience{std::chrono::steady_clock::now() + settings_.connect_timeout, stop};
  const bool local = settings_.mode == Mode::kSingle && !settings_.unix_socket.empty();
  Status status = local ? socket_.connect_unix(settings_.unix_socket) : socket_.connect(address_, patience);
  if (status.ok()) {
    reader_.reset(redisReaderCreate());
    if (tls_context_ != nullptr) tls_ = std::make_unique<TlsStream>(tls_context_, address_.host);
    if (tls_ != nullptr) status = shake_hands(patience);
  }
  status = at_server(status);
  if (status.ok()) status = greet(patience);
  if (status.ok()) return status;
  close();
  // A server that hangs is away, whichever of the steps it hung in.
  return status.code() == StatusCode::kDeadlineExceeded ? unavailable("{}", message_of(status)) : status;
}

Status Connection::shake_hands(const Patience& patience) {
  while (true) {
    const StatusOr<bool> done = tls_->handshake();
    tls_->take_outgoing(out_);  // also the alert that says why not
    const StatusOr<bool> all_sent = send_queued();
    HG_RETURN_IF_ERROR(done.status());
    HG_RETURN_IF_ERROR(all_sent.status());
    if (*done) return ok_status();
    HG_RETURN_IF_ERROR(socket_.await(!*all_sent, patience));
    std::string arrived;
    HG_RETURN_IF_ERROR(socket_.receive(arrived));
    tls_->put_incoming(arrived);
  }
}

Status Connection::greet(const Patience& patience) {
  StatusOr<Reply> reply = Reply();
  if (!login_.password.empty()) {
    std::vector<std::string_view> auth{"AUTH"};
    if (!login_.user.empty()) auth.emplace_back(login_.user);
    auth.emplace_back(login_.password);
    HG_RETURN_IF_ERROR(ask(auth, patience, reply));
  }
  if (login_.database != 0) {
    const std::string number = std::to_string(login_.database);
    HG_RETURN_IF_ERROR(ask(std::array<std::string_view, 2>{"SELECT", number}, patience, reply));
  }
  return ask(std::array<std::string_view, 1>{"PING"}, patience, reply);
}

void Connection::append(std::span<const std::string_view> arguments) {
  RespCommands commands;
  commands.begin(arguments.size());
  for (const std::string_view argument : arguments) commands.argument(argument);
  append(commands);
}

void Connection::append(const RespCommands& commands) {
  if (!is_open()) return;
  (tls_ == nullptr ? out_ : plain_).append(commands.text());
  queued_ += commands.count();
}

StatusOr<bool> Connection::send_queued() {
  if (tls_ != nullptr && !plain_.empty()) {
    HG_RETURN_IF_ERROR(tls_->encrypt(plain_));
    plain_.clear();
    tls_->take_outgoing(out_);
  }
  HG_ASSIGN_OR_RETURN(const size_t went, socket_.send(std::string_view(out_).substr(sent_)));
  sent_ += went;
  if (sent_ < out_.size()) return false;
  if (out_.capacity() > kKeptBytes) std::string().swap(out_);
  out_.clear();
  sent_ = 0;
  return true;
}

void Connection::push() {
  if (is_open()) (void)send_queued();
}

void Connection::feed_reader() {
  if (!in_.empty()) redisReaderFeed(reader_.get(), in_.data(), in_.size());
  in_.clear();
}

StatusOr<bool> Connection::receive() {
  if (tls_ == nullptr) {
    HG_RETURN_IF_ERROR(socket_.receive(in_));
  } else {
    std::string arrived;
    HG_RETURN_IF_ERROR(socket_.receive(arrived));
    tls_->put_incoming(arrived);
    HG_ASSIGN_OR_RETURN(const bool open, tls_->decrypt(in_));
    if (!open && in_.empty()) return unavailable("the server has closed the connection");
  }
  const bool came = !in_.empty();
  feed_reader();
  return came;
}

Status Connection::transfer(std::vector<Reply>& replies, const Patience& patience) {
  while (queued_ > 0) {
    const StatusOr<bool> all_sent = send_queued();
    void* reply = nullptr;
    while (queued_ > 0 && redisReaderGetReply(reader_.get(), &reply) == REDIS_OK && reply != nullptr) {
      replies.emplace_back(static_cast<redisReply*>(reply));
      --queued_;
      reply = nullptr;
    }
    if (reader_->err != 0) return unavailable("an answer that is none of Redis: {}", reader_->errstr);
    if (queued_ == 0) return ok_status();
    if (all_sent.ok()) HG_RETURN_IF_ERROR(socket_.await(!*all_sent, patience));
    const StatusOr<bool> came = receive();
    // What a server says before it hangs up is worth more than that it has.
    if (!all_sent.ok() && !(came.ok() && *came)) return all_sent.status();
    HG_RETURN_IF_ERROR(came.status());
  }
  return ok_status();
}

Status Connection::exchange(std::vector<Reply>& replies, std::stop_token stop) {
  if (!is_open()) return unavailable("redis at {}: not connected", name_);
  const Status status =
      at_server(transfer(replies, {std::chrono::steady_clock::now() + settings_.command_timeout, stop}));
  if (!status.ok()) close();
  return status;
}

Status Connection::ask(std::span<const std::string_view> arguments, const Patience& patience, StatusOr<Reply>& reply) {
  append(arguments);
  std::vector<Reply> replies;
  HG_RETURN_IF_ERROR(at_server(transfer(replies, patience)));
  if (is_error(replies[0].get())) {
    reply = status_of_error(text_of(replies[0].get()), name_);
    return reply.status();
  }
  reply = std::move(replies[0]);
  return ok_status();
}

StatusOr<Reply> Connection::command(std::span<const std::string_view> arguments, std::stop_token stop) {
  if (!is_open()) return unavailable("redis at {}: not connected", name_);
  StatusOr<Reply> reply = Reply();
  const Status status = ask(arguments, {std::chrono::steady_clock::now() + settings_.command_timeout, stop}, reply);
  if (status.ok()) return reply;
  if (reply.ok()) close();  // not a reply: the connection is of no use any more
  return status;
}

}  // namespace headgate::redis
