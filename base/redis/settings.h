// How to reach Redis: one server, Sentinel's master, or a cluster. The same for sinks and token store.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/status.h"

namespace headgate::redis {

enum class Mode {
  kSingle,    // host and port, or a socket
  kSentinel,  // the master that the sentinels name
  kCluster,   // the node that owns a key's slot
};

struct TlsSettings {
  bool enabled = false;
  std::string ca_file;    // empty: the system's authorities
  std::string cert_file;  // of the client, with key_file
  std::string key_file;
  std::string server_name;  // to verify and to send; empty: the host of each address
};

struct ClientSettings {
  Mode mode = Mode::kSingle;
  std::string host = "127.0.0.1";  // of mode single
  uint16_t port = 6379;
  std::string unix_socket;             // of mode single, instead of host and port
  std::vector<std::string> addresses;  // host:port of the sentinels, or of some nodes of the cluster
  std::string user;                    // empty: the default user
  std::string password;                // empty: no AUTH
  uint32_t database = 0;
  std::string sentinel_master;      // the name that the sentinels know
  std::string sentinel_user;        // of the sentinels themselves
  std::string sentinel_password;    // empty: no AUTH there
  TlsSettings tls;                  // of sentinels, too
  Duration connect_timeout{2'000};  // for each address: name, connection, TLS and greeting
  Duration command_timeout{5'000};  // until all replies to what was sent together are there
};

// What cannot work, as key (of the settings file) and sentence; empty when nothing is wrong. Reads no file.
std::vector<std::pair<std::string, std::string>> faults_of(const ClientSettings& settings);
// The first of them as INVALID_ARGUMENT; also when a file of TLS cannot be read.
Status check(const ClientSettings& settings);

struct Address {
  std::string host;  // without brackets
  uint16_t port = 0;

  bool operator==(const Address&) const = default;
  auto operator<=>(const Address&) const = default;
};
// "host:port", "[::1]:port"; without a port it is `default_port`.
StatusOr<Address> parse_address(std::string_view text, uint16_t default_port);
std::string text_of(const Address& address);

}  // namespace headgate::redis
