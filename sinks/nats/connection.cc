#include "sinks/nats/connection.h"

#include <absl/strings/ascii.h>
#include <absl/strings/match.h>

namespace headgate::sinks {
namespace {

natsStatus set_credentials(natsOptions* options, const NatsConnectionSettings& settings) {
  natsStatus status = NATS_OK;
  if (!settings.user.empty()) {
    status = natsOptions_SetUserInfo(options, settings.user.c_str(), settings.password.c_str());
  }
  if (status == NATS_OK && !settings.token.empty()) status = natsOptions_SetToken(options, settings.token.c_str());
  if (status == NATS_OK && !settings.credentials_file.empty()) {
    status = natsOptions_SetUserCredentialsFromFiles(options, settings.credentials_file.c_str(), nullptr);
  }
  return status;
}

natsStatus set_tls(natsOptions* options, const NatsConnectionSettings& settings) {
  if (!settings.tls) return NATS_OK;
  natsStatus status = natsOptions_SetSecure(options, true);
  if (status == NATS_OK && !settings.tls_ca_file.empty()) {
    status = natsOptions_LoadCATrustedCertificates(options, settings.tls_ca_file.c_str());
  }
  if (status == NATS_OK && !settings.tls_cert_file.empty()) {
    status = natsOptions_LoadCertificatesChain(options, settings.tls_cert_file.c_str(), settings.tls_key_file.c_str());
  }
  return status;
}

natsStatus set_servers(natsOptions* options, const std::string& urls) {
  std::vector<std::string> list;
  for (size_t at = 0; at <= urls.size();) {
    const size_t comma = std::min(urls.find(',', at), urls.size());
    if (comma > at) list.push_back(urls.substr(at, comma - at));
    at = comma + 1;
  }
  std::vector<const char*> servers;
  for (const std::string& url : list) servers.push_back(url.c_str());
  return natsOptions_SetServers(options, servers.data(), static_cast<int>(servers.size()));
}

}  // namespace

Status status_of_nats(natsStatus status, std::string_view tried) {
  switch (status) {
    case NATS_OK: return ok_status();
    case NATS_MAX_PAYLOAD:
      return invalid_argument("nats: cannot {}: larger than the server's max_payload; raise it", tried);
    case NATS_TIMEOUT: return status_of(StatusCode::kDeadlineExceeded, "nats: cannot {}: no answer in time", tried);
    default: return unavailable("nats: cannot {}: {}", tried, natsStatus_GetText(status));
  }
}

Status refusal_of(natsConnection* connection) {
  const char* text = nullptr;
  const natsStatus status = natsConnection_GetLastError(connection, &text);
  if (status == NATS_OK) return ok_status();
  const std::string told = text == nullptr || *text == '\0' ? natsStatus_GetText(status) : text;
  const bool denied =
      status == NATS_NOT_PERMITTED || absl::StrContains(absl::AsciiStrToLower(told), "permissions violation");
  return status_of(denied ? StatusCode::kPermissionDenied : StatusCode::kUnavailable, "nats: the server refused: {}",
                   told);
}

StatusOr<NatsOwned<natsConnection>> connect_to_nats(const NatsConnectionSettings& settings) {
  natsOptions* raw = nullptr;
  HG_RETURN_IF_ERROR(status_of_nats(natsOptions_Create(&raw), "prepare a connection"));
  const NatsOwned<natsOptions> options(raw);
  natsStatus status = set_servers(raw, settings.url);
  if (status == NATS_OK) status = natsOptions_SetTimeout(raw, settings.connect_timeout.count());
  // A server that takes nothing any more would otherwise block a publish for ever.
  if (status == NATS_OK) status = natsOptions_SetWriteDeadline(raw, settings.write_timeout.count());
  if (status == NATS_OK) status = natsOptions_SetAllowReconnect(raw, false);
  // Of the library's 32 KiB thirty events would be one call of the system.
  if (status == NATS_OK) status = natsOptions_SetIOBufSize(raw, 256 << 10);
  if (status == NATS_OK) status = natsOptions_SetName(raw, "headgate-relay");
  if (status == NATS_OK) status = natsOptions_SetPingInterval(raw, 5'000);
  if (status == NATS_OK) status = set_credentials(raw, settings);
  if (status == NATS_OK) status = set_tls(raw, settings);
  if (status != NATS_OK) return invalid_argument("nats: {}", natsStatus_GetText(status));
  natsConnection* connection = nullptr;
  status = natsConnection_Connect(&connection, raw);
  if (status != NATS_OK) return unavailable("nats: no connection: {}", natsStatus_GetText(status));
  return NatsOwned<natsConnection>(connection);
}

Status set_header(natsMsg* message, const std::string& name, const std::string& value) {
  return status_of_nats(natsMsgHeader_Set(message, name.c_str(), value.c_str()), "set a header");
}

std::string header_of(natsMsg* message, const std::string& name) {
  const char* value = nullptr;
  if (natsMsgHeader_Get(message, name.c_str(), &value) != NATS_OK || value == nullptr) return {};
  return value;
}

}  // namespace headgate::sinks
