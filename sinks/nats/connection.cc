#include "sinks/nats/connection.h"

#include <absl/strings/ascii.h>
#include <absl/strings/match.h>
#include <absl/strings/str_split.h>

#include <charconv>

#include "base/refusals.h"

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
  natsStatus status = natsOptions_SetSecure(options, true);
  if (status == NATS_OK && !settings.tls_ca_file.empty()) {
    status = natsOptions_LoadCATrustedCertificates(options, settings.tls_ca_file.c_str());
  }
  if (status == NATS_OK && !settings.tls_cert_file.empty()) {
    status = natsOptions_LoadCertificatesChain(options, settings.tls_cert_file.c_str(), settings.tls_key_file.c_str());
  }
  return status;
}

// nats.c takes what stands in front of the host as it is.
std::string percent_decoded(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    int value = 0;
    const char* const end = text.data() + i + 3;
    const bool coded = text[i] == '%' && i + 2 < text.size() && std::from_chars(end - 2, end, value, 16).ptr == end;
    out += coded ? static_cast<char>(value) : text[i];
    if (coded) i += 2;
  }
  return out;
}

// Of several servers in one setting, with coded names and passwords taken out of them.
struct Servers {
  std::vector<std::string> urls;
  std::string user, password;
  bool tls = false;
};
Servers servers_of(const std::string& text) {
  Servers servers;
  for (std::string url : std::vector<std::string>(absl::StrSplit(text, ',', absl::SkipEmpty()))) {
    servers.tls = servers.tls || absl::StartsWith(url, "tls://");
    const size_t begin = url.find("://") == std::string::npos ? 0 : url.find("://") + 3;
    const size_t end = url.rfind('@');
    if (end != std::string::npos && end > begin && url.find('%', begin) < end) {
      const std::string who = url.substr(begin, end - begin);
      const size_t colon = std::min(who.find(':'), who.size());
      servers.user = percent_decoded(std::string_view(who).substr(0, colon));
      servers.password = percent_decoded(std::string_view(who).substr(std::min(colon + 1, who.size())));
      url.erase(begin, end + 1 - begin);
    }
    servers.urls.push_back(std::move(url));
  }
  return servers;
}

natsStatus set_servers(natsOptions* options, const Servers& servers) {
  std::vector<const char*> urls;
  for (const std::string& url : servers.urls) urls.push_back(url.c_str());
  const natsStatus status = natsOptions_SetServers(options, urls.data(), static_cast<int>(urls.size()));
  if (status != NATS_OK || servers.user.empty()) return status;
  return natsOptions_SetUserInfo(options, servers.user.c_str(), servers.password.c_str());
}

// The library's word for the status, and what the server or OpenSSL said, when that is more.
std::string text_of(natsStatus status) {
  std::string text = natsStatus_GetText(status);
  natsStatus last = NATS_OK;
  const char* told = nats_GetLastError(&last);
  std::string_view detail = told == nullptr ? "" : told;
  // The library puts its own file and line in front.
  if (const size_t end = detail.find("): "); absl::StartsWith(std::string(detail), "(") && end != std::string::npos) {
    detail.remove_prefix(end + 3);
  }
  if (last == status && !detail.empty() && detail != text) text += fmt::format(": {}", detail);
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  return text;
}

const RefusalRow* row_in(std::string_view text) {
  for (const RefusalRow& row : refusal_rows()) {
    if (row.server != ServerKind::kNats || absl::ascii_isdigit(static_cast<unsigned char>(row.code[0]))) continue;
    if (absl::StrContains(absl::AsciiStrToLower(std::string(text)), absl::AsciiStrToLower(std::string(row.code)))) {
      return &row;
    }
  }
  return nullptr;
}

const RefusalRow* row_of(natsStatus status, std::string_view text) {
  const auto of = [](std::string_view code) { return find_refusal(ServerKind::kNats, code); };
  switch (status) {
    case NATS_MAX_PAYLOAD: return of("Maximum Payload Violation");
    case NATS_NO_RESPONDERS: return of("No responders");
    case NATS_NOT_PERMITTED: return of("Permissions Violation");
    case NATS_CONNECTION_AUTH_FAILED: return of("Authorization Violation");
    case NATS_SSL_ERROR:
    case NATS_SECURE_CONNECTION_WANTED:
    case NATS_SECURE_CONNECTION_REQUIRED: return of("TLS");
    default: return row_in(text);
  }
}

Status refused(const RefusalRow* row, StatusCode otherwise, std::string_view text) {
  if (row == nullptr) return make_status(otherwise, text);
  return with_refusal(status_of(code_of(row->kind), "{}{}{}", text, row->help.empty() ? "" : "; ", row->help),
                      row->kind);
}

}  // namespace

Status status_of_nats(natsStatus status, std::string_view tried) {
  if (status == NATS_OK) return ok_status();
  const std::string text = text_of(status);
  return refused(row_of(status, text),
                 status == NATS_TIMEOUT ? StatusCode::kDeadlineExceeded : StatusCode::kUnavailable,
                 fmt::format("nats: cannot {}: {}", tried, text));
}

Status status_of_jetstream(natsConnection* connection, natsStatus status, int code, std::string_view tried) {
  if (status == NATS_OK) return ok_status();
  // A call that may not be made is not answered.
  if (status == NATS_TIMEOUT) HG_RETURN_IF_ERROR(refusal_of(connection));
  if (code == 0) return status_of_nats(status, tried);
  return refused(find_refusal(ServerKind::kNats, std::to_string(code)), StatusCode::kUnavailable,
                 fmt::format("jetstream: cannot {}: {} (error {})", tried, text_of(status), code));
}

Status refusal_of(natsConnection* connection) {
  const char* text = nullptr;
  const natsStatus status = natsConnection_GetLastError(connection, &text);
  if (status == NATS_OK) return ok_status();
  const std::string told = text == nullptr || *text == '\0' ? natsStatus_GetText(status) : text;
  return refused(row_of(status, told), StatusCode::kUnavailable, fmt::format("nats: the server refused: {}", told));
}

StatusOr<NatsOwned<natsConnection>> connect_to_nats(const NatsConnectionSettings& settings) {
  natsOptions* raw = nullptr;
  HG_RETURN_IF_ERROR(status_of_nats(natsOptions_Create(&raw), "prepare a connection"));
  const NatsOwned<natsOptions> options(raw);
  const Servers servers = servers_of(settings.url);
  natsStatus status = set_servers(raw, servers);
  if (status == NATS_OK) status = natsOptions_SetTimeout(raw, settings.connect_timeout.count());
  // A server that takes nothing any more would otherwise block a publish for ever.
  if (status == NATS_OK) status = natsOptions_SetWriteDeadline(raw, settings.write_timeout.count());
  if (status == NATS_OK) status = natsOptions_SetAllowReconnect(raw, false);
  // Of the library's 32 KiB thirty events would be one call of the system.
  if (status == NATS_OK) status = natsOptions_SetIOBufSize(raw, 256 << 10);
  if (status == NATS_OK) status = natsOptions_SetName(raw, "headgate-relay");
  if (status == NATS_OK) status = natsOptions_SetPingInterval(raw, 5'000);
  if (status == NATS_OK) status = set_credentials(raw, settings);
  if (status == NATS_OK && (settings.tls || servers.tls)) status = set_tls(raw, settings);
  if (status != NATS_OK) return invalid_argument("nats: {}", text_of(status));
  natsConnection* connection = nullptr;
  status = natsConnection_Connect(&connection, raw);
  if (status != NATS_OK) return status_of_nats(status, "connect");
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
