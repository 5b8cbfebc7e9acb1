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
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  // Nobody asks for it, and it counts each call.
  builder.AddChannelArgument(GRPC_ARG_ENABLE_CHANNELZ, 0);
  // Two processes on one port would share the calls by chance.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
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
  const bool v6 = settings.address.find(':') != std::string::npos;
  const std::string address = v6 ? fmt::format("[{}]:{}", settings.address, settings.port)
                                 : fmt::format("{}:{}", settings.address, settings.port);
  builder.AddListeningPort(address, creds, &made->port_);
  builder.SetMaxReceiveMessageSize(settings.receive_bytes_max);
  // The limit above is for what is received: before anybody knows who calls, 2 MB would be unpacked to 2 GB.
  for (const grpc_compression_algorithm algorithm : {GRPC_COMPRESS_DEFLATE, GRPC_COMPRESS_GZIP}) {
    builder.SetCompressionAlgorithmSupportStatus(algorithm, false);
  }
  set_keepalive(builder, settings);
  builder.experimental().SetInterceptorCreators(make_unreadable_interceptors());
  for (grpc::Service* service : services) builder.RegisterService(service);
  made->server_ = builder.BuildAndStart();
  if (made->server_ == nullptr || made->port_ == 0) return unavailable("cannot bind {} for gRPC", address);
  return made;
}

ApiServer::~ApiServer() { stop(Duration(0)); }

void ApiServer::stop(Duration deadline) {
  if (server_ == nullptr) return;
  server_->Shutdown(std::chrono::system_clock::now() + deadline);
  server_->Wait();
  server_.reset();
}

}  // namespace headgate::engine
