// A Kafka broker of a test's own (KRaft, one node), which it may kill, pause and reach through a proxy.
#pragma once

#include <memory>
#include <string>

#include "tests/support/servers.h"

namespace headgate::testing {

// Keeps its address and data over kill() and start(). Takes some seconds to start.
class KafkaServer : public Program {
 public:
  // nullptr when this machine has no Java or the jars cannot be had; `reason` says so. Does not start.
  static std::unique_ptr<KafkaServer> make(const std::string& folder, std::string* reason);

  std::string address() const { return "127.0.0.1:" + std::to_string(port_); }
  // The listener for a proxy in front of this broker.
  int proxied_port() const { return proxied_port_; }
  // Where that proxy listens. Before the first start.
  void advertise(int proxy_port);
  // Opens one more listener, for users who may do only what is granted (kafka_acls.h), and returns its address. Before
  // the first start.
  std::string listen_for_users();

 private:
  struct Ports {
    int client = 0;
    int proxied = 0;
    int controller = 0;
  };
  KafkaServer(const std::string& folder, const std::string& jars, const Ports& ports);
  void write_properties() const;

  const std::string folder_;
  const int port_;
  const int proxied_port_;
  const int controller_port_;
  int advertised_port_ = 0;
  int users_port_ = 0;
};

}  // namespace headgate::testing
