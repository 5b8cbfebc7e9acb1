#include "relay/config/redis.h"

namespace headgate::relay {

void describe_redis(Settings& s, redis::ClientSettings& c, const RedisWords& words) {
  using namespace std::chrono_literals;
  s.choice("mode", c.mode,
           {{"single", redis::Mode::kSingle}, {"sentinel", redis::Mode::kSentinel}, {"cluster", redis::Mode::kCluster}},
           "one server, the master that sentinels name, or a cluster");
  s.text("host", c.host, "of the server, in mode single");
  s.integer("port", c.port, "of the server; in mode cluster of addresses that name none", uint16_t{1}, uint16_t{65535});
  s.text("unix_socket", c.unix_socket, "path, instead of host and port");
  s.list("addresses", c.addresses, "host:port of the sentinels, or of some nodes of the cluster");
  s.text(words.user, c.user, "ACL user; empty takes the default user");
  s.secret("password", c.password, "of the user");
  s.integer("database", c.database, "number of the database", 0u, 1'000'000u);
  s.text("sentinel_master", c.sentinel_master, "name of the master, as the sentinels know it");
  s.text("sentinel_user", c.sentinel_user, "ACL user of the sentinels themselves");
  s.secret("sentinel_password", c.sentinel_password, "of the sentinels themselves; empty: they ask for none");
  s.flag("tls", c.tls.enabled, "encrypt, and have the servers prove who they are; sentinels too");
  s.text("tls_ca_file", c.tls.ca_file, "path of the authorities; empty takes the system's");
  s.text("tls_cert_file", c.tls.cert_file, "path of the client's certificate");
  s.text("tls_key_file", c.tls.key_file, "path of its key");
  s.text("tls_server_name", c.tls.server_name, "name in the servers' certificates; empty takes each host");
  s.duration("connect_timeout", c.connect_timeout, "time to connect to one address", 10ms);
  s.duration(words.timeout, c.command_timeout, "time for the answers to what is sent together", 10ms);
}

}  // namespace headgate::relay
