#include "relay/upstream/channel.h"

#include <google/protobuf/any.pb.h>
#include <google/protobuf/duration.pb.h>
#include <google/protobuf/io/coded_stream.h>

#include <fstream>
#include <sstream>

#include "base/v1/service.grpc.pb.h"
#include "relay/upstream/retry_delay.h"

namespace headgate::relay {

namespace {

StatusOr<std::string> read_file(const std::string& path, const char* option) {
  std::ifstream in(path, std::ios::binary);
  if (!in) return invalid_argument("cannot read {} '{}'", option, path);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

// The length-delimited fields `number` of a serialized message: enough to read google.rpc.Status and its details, whose
// generated code Debian does not ship.
std::vector<std::string> fields(const std::string& bytes, uint32_t number) {
  google::protobuf::io::CodedInputStream in(reinterpret_cast<const uint8_t*>(bytes.data()),
                                            static_cast<int>(bytes.size()));
  std::vector<std::string> found;
  while (const uint32_t tag = in.ReadTag()) {
    constexpr uint32_t kVarint = 0, kDelimited = 2;
    uint64_t number_value = 0;
    uint32_t size = 0;
    std::string text;
    if ((tag & 7) == kVarint) {
      if (!in.ReadVarint64(&number_value)) break;
    } else if ((tag & 7) != kDelimited || !in.ReadVarint32(&size) || !in.ReadString(&text, static_cast<int>(size))) {
      break;
    } else if (tag >> 3 == number) {
      found.push_back(std::move(text));
    }
  }
  return found;
}

// The value of the first detail of this type.
std::string detail(const grpc::Status& status, const std::string& type) {
  for (const std::string& bytes : fields(status.error_details(), 3)) {
    google::protobuf::Any any;
    if (any.ParseFromString(bytes) && any.type_url() == "type.googleapis.com/google.rpc." + type) return any.value();
  }
  return "";
}

Duration retry_info(const grpc::Status& status) {
  for (const std::string& bytes : fields(detail(status, "RetryInfo"), 1)) {
    google::protobuf::Duration wait;
    if (wait.ParseFromString(bytes)) return Duration(wait.seconds() * 1000 + wait.nanos() / 1'000'000);
  }
  return Duration(0);
}

}  // namespace

StatusOr<ChannelMaker> ChannelMaker::create(const UpstreamSettings& settings) {
  ChannelMaker maker;
  maker.address_ = settings.address;
  maker.key_ = settings.key;
  maker.server_name_ = settings.tls.server_name;
  if (!settings.tls.enabled) {
    maker.credentials_ = grpc::InsecureChannelCredentials();
    return maker;
  }
  grpc::SslCredentialsOptions options;
  const UpstreamTls& tls = settings.tls;
  if (!tls.ca_file.empty()) {
    HG_ASSIGN_OR_RETURN(options.pem_root_certs, read_file(tls.ca_file, "upstream.tls.ca_file"));
  }
  if (!tls.cert_file.empty()) {
    HG_ASSIGN_OR_RETURN(options.pem_cert_chain, read_file(tls.cert_file, "upstream.tls.cert_file"));
    HG_ASSIGN_OR_RETURN(options.pem_private_key, read_file(tls.key_file, "upstream.tls.key_file"));
  }
  maker.credentials_ = grpc::SslCredentials(options);
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
  if (!key_.empty()) context.AddMetadata("authorization", "Bearer " + key_);
}

Status to_status(const grpc::Status& status) {
  if (status.ok()) return ok_status();
  std::string text = status.error_message();
  if (const std::string reason = reason_of(status); !reason.empty()) text += " (" + reason + ")";
  const Duration wait = retry_info(status);
  Status made = make_status(static_cast<StatusCode>(status.error_code()), text);
  return wait.count() > 0 ? with_retry_delay(std::move(made), wait) : made;
}

std::string reason_of(const grpc::Status& status) {
  const std::vector<std::string> reasons = fields(detail(status, "ErrorInfo"), 1);
  return reasons.empty() ? "" : reasons.front();
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

}  // namespace headgate::relay
