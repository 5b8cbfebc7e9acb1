// The gRPC server: TLS, keepalive, message sizes, health and reflection around the services it is given.
#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/status.h"
#include "engine/api/listener.h"

namespace headgate::engine {

struct ServerTls {
  std::string certificate;  // paths of PEM files; both empty: plaintext
  std::string key;
  std::string client_ca;                     // set: clients must present a certificate of this authority
  std::chrono::seconds reload_interval{60};  // the files are read again that often
};

struct ServerSettings {
  std::string address = "0.0.0.0";
  int port = 3478;  // 0: any free port
  ServerTls tls;
  bool reflection = true;
  int receive_bytes_max = 4 << 20;
  Duration keepalive_time{60'000};
  Duration keepalive_timeout{20'000};
  // Clients that ping more often than this are sent away.
  Duration client_ping_interval_min{10'000};
  ConnectionLimits connections;
  // What a connection may take for TLS and for the first words of HTTP/2.
  Duration handshake_timeout{10'000};
  int calls_per_connection_max = 10'000;
  size_t reserved_descriptors = 128;
  size_t memory_rise_max = 96 << 20;
  // What a connection that talks may take for a first call that is let in; 0: for ever.
  Duration first_call_timeout{30'000};
  AdmittedCalls* admitted = nullptr;    // borrowed: where the services note their calls
  const MemoryWatch* memory = nullptr;  // borrowed; while it is short nobody new is taken
};

class ApiServer {
 public:
  // Services are borrowed. UNAVAILABLE when the address cannot be bound, INVALID_ARGUMENT for unreadable TLS files.
  static StatusOr<std::unique_ptr<ApiServer>> start(const ServerSettings& settings,
                                                    const std::vector<grpc::Service*>& services);
  // Not listening; see start().
  ApiServer() = default;
  // Stops with no time for open calls.
  ~ApiServer();

  int port() const { return port_; }
  grpc::HealthCheckServiceInterface* health() { return server_->GetHealthCheckService(); }
  ListenerStats connections() const { return listener_->stats(); }
  // For asking whether the port answers; may outlive the server, and then says that it does not.
  std::shared_ptr<SelfCall> self_call() const { return listener_->self_call(); }
  // No new calls; open ones get until `deadline`, then they are cancelled. May be called twice.
  void stop(Duration deadline);

 private:
  using Acceptor = grpc::experimental::ExternalConnectionAcceptor;

  std::unique_ptr<Listener> listener_;
  std::unique_ptr<Acceptor> acceptor_;
  std::unique_ptr<Acceptor> own_acceptor_;  // of self-calls: without TLS
  std::unique_ptr<grpc::Server> server_;
  int port_ = 0;
};

}  // namespace headgate::engine
