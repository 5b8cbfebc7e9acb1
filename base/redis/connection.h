// One connection to one server of Redis, which never waits for longer than asked. hiredis reads the replies; socket,
// TLS and time are ours (decision 0009).
#pragma once

#include <memory>
#include <span>
#include <stop_token>
#include <string_view>
#include <vector>

#include "base/redis/reply.h"
#include "base/redis/resp.h"
#include "base/redis/settings.h"
#include "base/redis/socket.h"
#include "base/redis/tls.h"

namespace headgate::redis {

struct Login {
  std::string user;
  std::string password;
  uint32_t database = 0;
};

// Not thread-safe. After an error that is not a reply the connection is closed; open() makes a new one.
class Connection {
 public:
  // `tls` may be null. The settings' unix_socket wins over `address` in mode single.
  Connection(const ClientSettings& settings, Address address, Login login, std::shared_ptr<const TlsContext> tls);

  // Connects, authenticates and selects the database; the settings' connect_timeout is for all of it.
  Status open(std::stop_token stop);
  void close();
  bool is_open() const { return socket_.is_open(); }
  const Address& address() const { return address_; }
  const std::string& name() const { return name_; }  // for texts

  // Queues commands; nothing is sent yet. On a closed connection they are forgotten, and exchange() says so.
  void append(std::span<const std::string_view> arguments);
  void append(const RespCommands& commands);
  // Sends of what is queued as much as goes without waiting, so that the server works while more is being queued.
  // Errors are found by exchange().
  void push();
  // Sends what is queued and awaits all replies. Error replies are replies: look at their type.
  // On failure `replies` holds those that did arrive, and the connection is closed.
  Status exchange(std::vector<Reply>& replies, std::stop_token stop);
  // One command and its reply; an error reply becomes a status (errors.h).
  StatusOr<Reply> command(std::span<const std::string_view> arguments, std::stop_token stop);

 private:
  struct FreeReader {
    void operator()(redisReader* reader) const { redisReaderFree(reader); }
  };

  Status greet(const Patience& patience);
  Status shake_hands(const Patience& patience);
  Status ask(std::span<const std::string_view> arguments, const Patience& patience, StatusOr<Reply>& reply);
  Status transfer(std::vector<Reply>& replies, const Patience& patience);
  // Of what is queued; false: not all went.
  StatusOr<bool> send_queued();
  // False: nothing came.
  StatusOr<bool> receive();
  void feed_reader();
  Status at_server(const Status& status) const;

  const ClientSettings& settings_;
  const Address address_;
  const std::string name_;
  const Login login_;
  const std::shared_ptr<const TlsContext> tls_context_;
  Socket socket_;
  std::unique_ptr<TlsStream> tls_;
  std::unique_ptr<redisReader, FreeReader> reader_;
  std::string plain_;  // to be encrypted
  std::string out_;    // to be sent, from sent_ on
  size_t sent_ = 0;
  std::string in_;
  size_t queued_ = 0;  // replies to come
};

}  // namespace headgate::redis
