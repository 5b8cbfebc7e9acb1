// Redis in any of its forms behind one face: a server, the master behind Sentinel, or the nodes of a cluster.
//
// A failure of a connection closes it; open() finds the servers anew. Not thread-safe. No wait is longer than the
// settings' time-outs, for each address that is tried.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>

#include "base/redis/connection.h"
#include "base/redis/settings.h"
#include "base/redis/slots.h"

namespace headgate::redis {

class Client {
 public:
  // What each new connection is given before its first command, for example scripts.
  using OnConnect = std::function<Status(Connection&, std::stop_token)>;

  explicit Client(ClientSettings settings, OnConnect on_connect = {});

  // Finds and connects to the server, the master or, of a cluster, one node; the other nodes are connected to when
  // they are needed. INVALID_ARGUMENT for settings that cannot work, UNAVAILABLE, PERMISSION_DENIED, CANCELLED.
  Status open(std::stop_token stop);
  void close();
  // False as soon as a connection has failed.
  bool is_open() const;
  bool is_cluster() const { return settings_.mode == Mode::kCluster; }
  const ClientSettings& settings() const { return settings_; }

  // The connection for a key, open. The pointer is good until close(), or until is_open() is false.
  StatusOr<Connection*> of_key(std::string_view key, std::stop_token stop);
  // The one that open() made.
  Connection* any() { return first_; }
  // Where ASK points to.
  StatusOr<Connection*> at(const Address& address, std::stop_token stop);
  // What to do with an error reply that speaks of a place: MOVED is written into the map. True: the slot has only
  // moved, and what it holds went along, so that sending again is all that is needed. False: a master has been
  // replaced, or nobody knows, and what the last one acknowledged may be lost: open() and ask what is there.
  bool follow(std::string_view error, const Connection& from, std::stop_token stop);

  // One command on the key's server; follows MOVED and ASK. The client is closed when its servers have to be looked
  // for again, and the next command opens it. Error replies become a status.
  StatusOr<Reply> command(std::string_view key, std::span<const std::string_view> arguments, std::stop_token stop);

 private:
  using Nodes = std::map<Address, std::unique_ptr<Connection>>;

  Status open_single(std::stop_token stop);
  Status open_sentinel(std::stop_token stop);
  Status open_cluster(std::stop_token stop);
  StatusOr<Address> master_by(const Address& sentinel, std::stop_token stop);
  Status load_map(Connection& connection, std::stop_token stop);
  StatusOr<Connection*> connect(const Address& address, std::stop_token stop);
  Login login() const { return {settings_.user, settings_.password, settings_.database}; }

  const ClientSettings settings_;
  const OnConnect on_connect_;
  std::shared_ptr<const TlsContext> tls_;
  size_t next_address_ = 0;  // the first to be tried
  Nodes nodes_;
  Connection* first_ = nullptr;
  std::optional<SlotMap> map_;
};

}  // namespace headgate::redis
