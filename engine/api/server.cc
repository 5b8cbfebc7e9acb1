#include "engine/api/server.h"

#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/security/tls_certificate_provider.h>
#include <grpcpp/security/tls_credentials_options.h>
#include <unistd.h>

#include "engine/api/unreadable.h"

namespace headgate::engine {
namespace {

StatusOr<std::shared_ptr<grpc::ServerCredentials>> credentials(const ServerTls& tls) {
  if (tls.certificate.empty()) return grpc::InsecureServerCredentials();
  for (const std::string& path : {tls.certificate, tls.key, tls.client_ca}) {
    if (!path.empty() && access(path.c_str(), R_OK) != 0) return invalid_argument("cannot read the file '{}'", path);
  }
  auto provider = std::make_shared<grpc::experimental::FileWatcherCertificateProvider>(
      tls.key, tls.certificate, tls.client_ca, static_cast<unsigned int>(tls.reload_interval.count()));
  grpc::experimental::TlsServerCredentialsOptions options(provider);
  options.watch_identity_key_cert_pairs();
  options.set_cert_request_type(tls.client_ca.empty() ? GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE
                                                      : GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
  if (!tls.client_ca.empty()) options.watch_root_certs();
  return grpc::experimental::TlsServerCredentials(options);
}

void set_keepalive(grpc::ServerBuilder& builder, const ServerSettings& settings) {
  const auto set = [&](const char* name, Duration value) {
    builder.AddChannelArgument(name, static_cast<int>(value.count()));
  };
  set(GRPC_ARG_KEEPALIVE_TIME_MS, settings.keepalive_time);
  set(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, settings.keepalive_timeout);
  set(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, settings.client_ping_interval_min);
  set(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, settings.handshake_timeout);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, settings.calls_per_connection_max);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  // Nobody asks for it, and it counts each call.
  builder.AddChannelArgument(GRPC_ARG_ENABLE_CHANNELZ, 0);
}

ListenerSettings listener_settings(const ServerSettings& settings) {
  return {.address = settings.address,
          .port = settings.port,
          .connections = {settings.connections, settings.memory_rise_max, settings.first_call_timeout,
                          settings.admitted, settings.memory},
          .reserved_descriptors = settings.reserved_descriptors,
          .unacknowledged_max = settings.keepalive_timeout};
}

void pass_on(grpc::experimental::ExternalConnectionAcceptor& acceptor, Descriptor socket) {
  grpc::experimental::ExternalConnectionAcceptor::NewConnectionParameters connection;
  connection.fd = socket.release();
  acceptor.HandleNewConnection(&connection);
}

}  // namespace

StatusOr<std::unique_ptr<ApiServer>> ApiServer::start(const ServerSettings& settings,
                                                      const std::vector<grpc::Service*>& services) {
  HG_ASSIGN_OR_RETURN(const std::shared_ptr<grpc::ServerCredentials> creds, credentials(settings.tls));
  grpc::EnableDefaultHealthCheckService(true);
  // A plugin of the process: once switched on it serves every server built later.
  if (settings.reflection) grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  auto made = std::make_unique<ApiServer>();
  grpc::ServerBuilder builder;
  HG_ASSIGN_OR_RETURN(made->listener_, Listener::open(listener_settings(settings)));
  made->port_ = made->listener_->port();
  using Kind = grpc::ServerBuilder::experimental_type::ExternalConnectionType;
  made->acceptor_ = builder.experimental().AddExternalConnectionAcceptor(Kind::FROM_FD, creds);
  made->own_acceptor_ =
      builder.experimental().AddExternalConnectionAcceptor(Kind::FROM_FD, grpc::InsecureServerCredentials());
  builder.SetMaxReceiveMessageSize(settings.receive_bytes_max);
  // The limit above is for what is received: before anybody knows who calls, 2 MB would be unpacked to 2 GB.
  for (const grpc_compression_algorithm algorithm : {GRPC_COMPRESS_DEFLATE, GRPC_COMPRESS_GZIP}) {
    builder.SetCompressionAlgorithmSupportStatus(algorithm, false);
  }
  set_keepalive(builder, settings);
  builder.experimental().SetInterceptorCreators(make_unreadable_interceptors());
  for (grpc::Service* service : services) builder.RegisterService(service);
  made->server_ = builder.BuildAndStart();
  if (made->server_ == nullptr) return unavailable("gRPC cannot start at port {}", made->port_);
  made->listener_->start([&server = *made](Descriptor socket, bool own) {
    pass_on(own ? *server.own_acceptor_ : *server.acceptor_, std::move(socket));
  });
  return made;
}

ApiServer::~ApiServer() { stop(Duration(0)); }

void ApiServer::stop(Duration deadline) {
  if (server_ == nullptr) return;
  // First: what is handed to a server that shuts down stays open for ever.
  listener_->stop();
  server_->Shutdown(std::chrono::system_clock::now() + deadline);
  server_->Wait();
  server_.reset();
}

}  // namespace headgate::engine
