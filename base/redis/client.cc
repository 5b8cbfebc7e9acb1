#include "base/redis/client.h"

#include <array>

#include "base/redis/errors.h"

namespace headgate::redis {
namespace {

constexpr uint16_t kSentinelPort = 26'379;
constexpr int kRedirectsMax = 5;

// With several addresses the last failure alone would hide the one that matters.
Status none_of(const char* what, const std::vector<std::string>& faults) {
  std::string text;
  for (const std::string& fault : faults) text += text.empty() ? fault : "; " + fault;
  return unavailable("redis: {}: {}", what, text);
}

}  // namespace

Client::Client(ClientSettings settings, OnConnect on_connect)
    : settings_(std::move(settings)), on_connect_(std::move(on_connect)) {}

void Client::close() {
  first_ = nullptr;
  nodes_.clear();
  map_.reset();
}

bool Client::is_open() const {
  if (first_ == nullptr) return false;
  for (const auto& [address, connection] : nodes_) {
    if (!connection->is_open()) return false;
  }
  return true;
}

Status Client::open(std::stop_token stop) {
  close();
  if (settings_.tls.enabled && tls_ == nullptr) {
    HG_ASSIGN_OR_RETURN(tls_, TlsContext::make(settings_.tls));
  }
  Status status;
  switch (settings_.mode) {
    case Mode::kSingle: status = open_single(stop); break;
    case Mode::kSentinel: status = open_sentinel(stop); break;
    case Mode::kCluster: status = open_cluster(stop); break;
  }
  if (!status.ok()) close();
  return status;
}

Status Client::open_single(std::stop_token stop) {
  std::string host = settings_.host;
  // As an IPv6 address stands in front of a port.
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') host = host.substr(1, host.size() - 2);
  HG_ASSIGN_OR_RETURN(first_, connect({host, settings_.port}, stop));
  return ok_status();
}

StatusOr<Connection*> Client::connect(const Address& address, std::stop_token stop) {
  auto connection = std::make_unique<Connection>(settings_, address, login(), tls_);
  HG_RETURN_IF_ERROR(connection->open(stop));
  if (on_connect_) HG_RETURN_IF_ERROR(on_connect_(*connection, stop));
  std::unique_ptr<Connection>& place = nodes_[address];
  place = std::move(connection);
  return place.get();
}

StatusOr<Address> Client::master_by(const Address& sentinel, std::stop_token stop) {
  Connection connection(settings_, sentinel, {settings_.sentinel_user, settings_.sentinel_password, 0}, tls_);
  HG_RETURN_IF_ERROR(connection.open(stop));
  HG_ASSIGN_OR_RETURN(
      const Reply reply,
      connection.command(
          std::array<std::string_view, 3>{"SENTINEL", "GET-MASTER-ADDR-BY-NAME", settings_.sentinel_master}, stop));
  if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2) {
    return unavailable("the sentinel at {} knows no master '{}'", connection.name(), settings_.sentinel_master);
  }
  const std::string_view port = text_of(reply->element[1]);
  return parse_address(fmt::format("[{}]:{}", text_of(reply->element[0]), port), 0);
}

Status Client::open_sentinel(std::stop_token stop) {
  std::vector<std::string> faults;
  const size_t count = settings_.addresses.size();
  for (size_t i = 0; i < count; ++i) {
    const size_t index = (next_address_ + i) % count;
    HG_ASSIGN_OR_RETURN(const Address sentinel, parse_address(settings_.addresses[index], kSentinelPort));
    const StatusOr<Address> master = master_by(sentinel, stop);
    if (master.status().code() == StatusCode::kCancelled) return master.status();
    if (!master.ok()) {
      faults.push_back(message_of(master.status()));
      continue;
    }
    next_address_ = index;
    // A sentinel that has not heard yet names the old master; what that one says of itself decides.
    const StatusOr<Connection*> connected = connect(*master, stop);
    if (!connected.ok()) {
      if (connected.status().code() != StatusCode::kUnavailable) return connected.status();
      faults.push_back(message_of(connected.status()));
      continue;
    }
    HG_ASSIGN_OR_RETURN(const Reply role, (*connected)->command(std::array<std::string_view, 1>{"ROLE"}, stop));
    if (role->type == REDIS_REPLY_ARRAY && role->elements > 0 && text_of(role->element[0]) == "master") {
      first_ = *connected;
      return ok_status();
    }
    faults.push_back(
        fmt::format("{}, which the sentinel at {} names, is no master", text_of(*master), text_of(sentinel)));
    nodes_.clear();
  }
  return none_of("no sentinel leads to a master", faults);
}

Status Client::load_map(Connection& connection, std::stop_token stop) {
  HG_ASSIGN_OR_RETURN(const Reply reply, connection.command(std::array<std::string_view, 2>{"CLUSTER", "SLOTS"}, stop));
  HG_ASSIGN_OR_RETURN(SlotMap map, SlotMap::parse(reply.get(), connection.address()));
  if (map.masters().empty()) return unavailable("redis at {}: no slot of the cluster is served", connection.name());
  map_ = std::move(map);
  return ok_status();
}

Status Client::open_cluster(std::stop_token stop) {
  std::vector<std::string> faults;
  const size_t count = settings_.addresses.size();
  for (size_t i = 0; i < count; ++i) {
    const size_t index = (next_address_ + i) % count;
    HG_ASSIGN_OR_RETURN(const Address address, parse_address(settings_.addresses[index], settings_.port));
    const StatusOr<Connection*> connected = connect(address, stop);
    Status status = connected.status();
    if (status.ok()) status = load_map(**connected, stop);
    if (status.ok()) {
      next_address_ = index;
      first_ = *connected;
      return status;
    }
    if (status.code() != StatusCode::kUnavailable) return status;
    faults.push_back(message_of(status));
    nodes_.clear();
  }
  return none_of("no node of the cluster answers", faults);
}

StatusOr<Connection*> Client::at(const Address& address, std::stop_token stop) {
  const auto it = nodes_.find(address);
  if (it == nodes_.end()) return connect(address, stop);
  // A connection that broke is not replaced behind the caller's back: open() is followed by a look at what is there.
  if (!it->second->is_open()) return unavailable("redis at {}: the connection broke", it->second->name());
  return it->second.get();
}

StatusOr<Connection*> Client::of_key(std::string_view key, std::stop_token stop) {
  if (first_ == nullptr) return unavailable("redis: not connected");
  if (!is_cluster()) return first_;
  const uint16_t slot = slot_of(key);
  const Address* master = map_->master_of(slot);
  if (master == nullptr) {
    first_->close();  // so that open() looks again
    return unavailable("redis: nobody in the cluster serves slot {}", slot);
  }
  auto connection = at(*master, stop);
  if (!connection.ok()) first_->close();
  return connection;
}

bool Client::follow(std::string_view error, const Connection& from, std::stop_token stop) {
  auto redirect = redirect_of(error);
  if (!redirect || !is_cluster()) return false;
  if (redirect->to.host.empty()) redirect->to.host = from.address().host;
  if (redirect->ask) return true;
  // Who has moved a slot is still a master, as a rule; who was replaced is not. Only the new owner knows for sure.
  const auto target = at(redirect->to, stop);
  if (!target.ok()) return false;
  const std::optional<SlotMap> before = std::move(map_);
  if (!load_map(**target, stop).ok()) {
    map_ = before;
    return false;
  }
  for (const Address& master : before->masters()) {
    if (!map_->has_master(master)) return false;
  }
  map_->move(redirect->slot, redirect->to);
  return true;
}

StatusOr<Reply> Client::command(std::string_view key, std::span<const std::string_view> arguments,
                                std::stop_token stop) {
  if (!is_open()) HG_RETURN_IF_ERROR(open(stop));
  HG_ASSIGN_OR_RETURN(Connection * connection, of_key(key, stop));
  bool asking = false;
  std::vector<Reply> replies;
  for (int i = 0; i < kRedirectsMax; ++i) {
    if (asking) connection->append(std::array<std::string_view, 1>{"ASKING"});
    connection->append(arguments);
    replies.clear();
    HG_RETURN_IF_ERROR(connection->exchange(replies, stop));
    if (!is_error(replies.back().get())) return std::move(replies.back());
    const std::string_view error = text_of(replies.back().get());
    const auto redirect = redirect_of(error);
    if (!is_cluster() || !redirect) break;
    asking = redirect->ask;
    if (!asking) (void)follow(error, *connection, stop);
    Address to = redirect->to;
    if (to.host.empty()) to.host = connection->address().host;
    HG_ASSIGN_OR_RETURN(connection, at(to, stop));
  }
  const std::string error(text_of(replies.back().get()));
  const Status status = status_of_error(error, connection->name());
  if (speaks_of_place(error)) close();
  return status;
}

}  // namespace headgate::redis
