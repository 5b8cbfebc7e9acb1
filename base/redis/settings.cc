#include "base/redis/settings.h"

#include <charconv>

#include "base/redis/tls.h"

namespace headgate::redis {
namespace {

using Faults = std::vector<std::pair<std::string, std::string>>;

void check_place(const ClientSettings& s, Faults& faults) {
  const bool single = s.mode == Mode::kSingle;
  if (single && s.unix_socket.empty() && s.host.empty()) faults.emplace_back("host", "must be set in mode single");
  if (single && !s.addresses.empty()) {
    faults.emplace_back("addresses", "belongs to the modes sentinel and cluster; mode single takes host and port");
  }
  if (!single && !s.unix_socket.empty()) faults.emplace_back("unix_socket", "belongs to mode single");
  if (!single && s.addresses.empty()) {
    faults.emplace_back("addresses", s.mode == Mode::kSentinel ? "must name the sentinels in mode sentinel"
                                                               : "must name some nodes in mode cluster");
  }
  for (const std::string& text : s.addresses) {
    const auto address = parse_address(text, s.port);
    if (!address.ok()) faults.emplace_back("addresses", message_of(address.status()));
  }
  if (s.mode == Mode::kSentinel && s.sentinel_master.empty()) {
    faults.emplace_back("sentinel_master", "must name the master in mode sentinel, as in 'sentinel monitor NAME ...'");
  }
  if (s.mode != Mode::kSentinel && !s.sentinel_master.empty()) {
    faults.emplace_back("sentinel_master", "belongs to mode sentinel");
  }
  if (s.mode == Mode::kCluster && s.database != 0) {
    faults.emplace_back("database", "must be 0 in mode cluster; a cluster has no other");
  }
}

void check_tls(const ClientSettings& s, Faults& faults) {
  if (s.tls.cert_file.empty() != s.tls.key_file.empty()) {
    faults.emplace_back(s.tls.cert_file.empty() ? "tls_cert_file" : "tls_key_file",
                        "must be set too: a client's certificate and its key go together");
  }
  const bool unused = !s.tls.ca_file.empty() || !s.tls.cert_file.empty() || !s.tls.server_name.empty();
  if (!s.tls.enabled && unused) faults.emplace_back("tls", "must be true, or the tls_* settings beside it do nothing");
  if (s.tls.enabled && !s.unix_socket.empty()) faults.emplace_back("tls", "has no use on a unix_socket");
}

}  // namespace

Faults faults_of(const ClientSettings& settings) {
  Faults faults;
  check_place(settings, faults);
  check_tls(settings, faults);
  if (!settings.user.empty() && settings.password.empty()) faults.emplace_back("password", "a user needs a password");
  if (!settings.sentinel_user.empty() && settings.sentinel_password.empty()) {
    faults.emplace_back("sentinel_password", "a sentinel_user needs a password");
  }
  return faults;
}

Status check(const ClientSettings& settings) {
  const Faults faults = faults_of(settings);
  if (!faults.empty()) return invalid_argument("redis: {} {}", faults[0].first, faults[0].second);
  return settings.tls.enabled ? TlsContext::make(settings.tls).status() : ok_status();
}

StatusOr<Address> parse_address(std::string_view text, uint16_t default_port) {
  std::string_view host = text;
  std::string_view port;
  if (!text.empty() && text[0] == '[') {
    const size_t end = text.find(']');
    if (end == std::string_view::npos) return invalid_argument("'{}' has no ']'", text);
    host = text.substr(1, end - 1);
    port = text.substr(end + 1);
  } else if (const size_t colon = text.rfind(':'); colon != std::string_view::npos && text.find(':') == colon) {
    host = text.substr(0, colon);
    port = text.substr(colon);
  }
  Address address{std::string(host), default_port};
  bool good = !host.empty();
  if (!port.empty()) {
    const char* const end = port.data() + port.size();
    const auto [at, error] = std::from_chars(port.data() + 1, end, address.port);
    good = good && port[0] == ':' && error == std::errc() && at == end && address.port != 0;
  }
  if (!good) return invalid_argument("'{}' is no host:port", text);
  return address;
}

std::string text_of(const Address& address) {
  const bool six = address.host.find(':') != std::string::npos;
  return six ? fmt::format("[{}]:{}", address.host, address.port) : fmt::format("{}:{}", address.host, address.port);
}

}  // namespace headgate::redis
