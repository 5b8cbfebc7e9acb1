#include "relay/upstream/channel.h"

#include <grpcpp/security/tls_certificate_provider.h>
#include <grpcpp/security/tls_credentials_options.h>

#include "base/refusals.h"
#include "base/settings_text.h"
#include "base/v1/service.grpc.pb.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "relay/upstream/retry_delay.h"

namespace headgate::relay {

namespace {

constexpr unsigned int kReadAgainSeconds = 60;

// Certificates are renewed while the relay runs: the files are read again, and connections made from then on use them.
StatusOr<std::shared_ptr<grpc::ChannelCredentials>> tls_credentials(const UpstreamTls& tls) {
  for (const std::string& path : {tls.ca_file, tls.cert_file, tls.key_file}) HG_RETURN_IF_ERROR(check_readable(path));
  if (tls.ca_file.empty() && tls.cert_file.empty()) return grpc::SslCredentials({});
  namespace experimental = grpc::experimental;
  experimental::TlsChannelCredentialsOptions options;
  options.set_certificate_provider(std::make_shared<experimental::FileWatcherCertificateProvider>(
      tls.key_file, tls.cert_file, tls.ca_file, kReadAgainSeconds));
  if (!tls.ca_file.empty()) options.watch_root_certs();
  if (!tls.cert_file.empty()) options.watch_identity_key_cert_pairs();
  return experimental::TlsCredentials(options);
}

// The first detail of this type; false when there is none.
template <typename Detail>
bool read_detail(const grpc::Status& status, Detail* detail) {
  google::rpc::Status details;
  if (!details.ParseFromString(status.error_details())) return false;
  for (const google::protobuf::Any& any : details.details()) {
    if (any.UnpackTo(detail)) return true;
  }
  return false;
}

Duration retry_info(const grpc::Status& status) {
  google::rpc::RetryInfo info;
  if (!read_detail(status, &info)) return Duration(0);
  return Duration(info.retry_delay().seconds() * 1000 + info.retry_delay().nanos() / 1'000'000);
}

}  // namespace

StatusOr<ChannelMaker> ChannelMaker::create(const UpstreamSettings& settings) {
  ChannelMaker maker;
  maker.address_ = settings.address;
  maker.set_key(settings.key);
  maker.server_name_ = settings.tls.server_name;
  if (!settings.tls.enabled) {
    maker.credentials_ = grpc::InsecureChannelCredentials();
    return maker;
  }
  HG_ASSIGN_OR_RETURN(maker.credentials_, tls_credentials(settings.tls));
  return maker;
}

std::shared_ptr<grpc::Channel> ChannelMaker::make(Duration keepalive) const {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetMaxReceiveMessageSize(-1);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 2'000);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 1'000);
  if (keepalive.count() > 0) {
    arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, static_cast<int>(keepalive.count()));
    arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10'000);
  }
  if (!server_name_.empty()) arguments.SetSslTargetNameOverride(server_name_);
  return grpc::CreateCustomChannel(address_, credentials_, arguments);
}

void ChannelMaker::authorize(grpc::ClientContext& context) const {
  MutexLock lock(key_->mutex);
  if (!key_->text.empty()) context.AddMetadata("authorization", "Bearer " + key_->text);
}

void ChannelMaker::set_key(const std::string& key) const {
  MutexLock lock(key_->mutex);
  key_->text = key;
}

Status to_status(const grpc::Status& status) {
  if (status.ok()) return ok_status();
  std::string text = status.error_message();
  if (const std::string reason = reason_of(status); !reason.empty()) text += " (" + reason + ")";
  const Duration wait = retry_info(status);
  Status made = make_status(static_cast<StatusCode>(status.error_code()), text);
  if (const RefusalRow* row = find_refusal(ServerKind::kUpstream, code_name(made.code()))) {
    made = with_refusal(std::move(made), row->kind);
  }
  return wait.count() > 0 ? with_retry_delay(std::move(made), wait) : made;
}

std::string reason_of(const grpc::Status& status) {
  google::rpc::ErrorInfo info;
  return read_detail(status, &info) ? info.reason() : "";
}

StatusOr<std::vector<std::string>> list_tenants(const std::shared_ptr<grpc::Channel>& channel,
                                                const ChannelMaker& maker, Duration timeout) {
  constexpr uint32_t kPage = 100;  // the most that the contract allows
  const auto stub = base::v1::Tenancy::NewStub(channel);
  std::vector<std::string> names;
  base::v1::TenantListRequest request;
  request.set_page_size(kPage);
  do {
    grpc::ClientContext context;
    maker.authorize(context);
    context.set_deadline(std::chrono::system_clock::now() + timeout);
    base::v1::TenantListResponse response;
    const grpc::Status status = stub->List(&context, request, &response);
    if (!status.ok()) return to_status(status);
    for (const base::v1::Tenant& tenant : response.tenants()) names.push_back(tenant.id());
    request.set_continuous_token(response.continuous_token());
  } while (!request.continuous_token().empty());
  return names;
}

Status ask_for_life(const std::shared_ptr<grpc::Channel>& channel, const ChannelMaker& maker, Duration timeout) {
  grpc::ClientContext context;
  maker.authorize(context);
  context.set_deadline(std::chrono::system_clock::now() + timeout);
  base::v1::TenantListRequest request;
  request.set_page_size(1);
  base::v1::TenantListResponse response;
  const Status status = to_status(base::v1::Tenancy::NewStub(channel)->List(&context, request, &response));
  const bool silent = status.code() == StatusCode::kDeadlineExceeded || status.code() == StatusCode::kUnavailable;
  return silent ? status : ok_status();
}

}  // namespace headgate::relay
