#include "sinks/registry/schema_registry.h"

// As Debian builds the library; the layout of its classes depends on it.
#define CPPHTTPLIB_OPENSSL_SUPPORT
#define CPPHTTPLIB_ZLIB_SUPPORT
#define CPPHTTPLIB_BROTLI_SUPPORT
#include <httplib.h>

#include <nlohmann/json.hpp>

namespace headgate::sinks {
namespace {

constexpr size_t kAnswerBytesMax = 1 << 20;
constexpr size_t kToldBytesMax = 300;
constexpr char kContentType[] = "application/vnd.schemaregistry.v1+json";

struct Address {
  std::string server;  // with the scheme, as the library wants it
  std::string path;    // in front of the API's own, without a slash at its end
};

StatusOr<Address> address_of(const std::string& url) {
  const size_t scheme = url.find("://");
  const bool known = url.rfind("http://", 0) == 0 || url.rfind("https://", 0) == 0;
  if (!known || url.size() == scheme + 3) {
    return invalid_argument("schema_registry.url '{}' is no address like http://registry.example:8081", url);
  }
  if (url.find('@') != std::string::npos) {
    return invalid_argument("schema_registry.url may not hold a user; set schema_registry.user and password");
  }
  const size_t slash = url.find('/', scheme + 3);
  Address address{url.substr(0, slash), slash == std::string::npos ? "" : url.substr(slash)};
  while (!address.path.empty() && address.path.back() == '/') address.path.pop_back();
  return address;
}

std::string in_path(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                       std::string_view("-._~").find(c) != std::string_view::npos;
    out += plain ? std::string(1, c) : fmt::format("%{:02X}", static_cast<unsigned char>(c));
  }
  return out;
}

// What the registry says of its refusal, as {"error_code": 409, "message": "..."}.
std::string told(const std::string& body) {
  const auto json = nlohmann::json::parse(body, nullptr, false);
  const bool has_message = json.is_object() && json.contains("message") && json["message"].is_string();
  return (has_message ? json["message"].get<std::string>() : body).substr(0, kToldBytesMax);
}

Status refusal(const SchemaRegistrySettings& settings, int http, const std::string& body) {
  const std::string what =
      fmt::format("schema registry {}: subject '{}': HTTP {}: {}", settings.url, settings.subject, http, told(body));
  if (http == 401 || http == 403) {
    return status_of(StatusCode::kPermissionDenied, "{}; look at schema_registry.user, password and the user's rights",
                     what);
  }
  if (http == 409 || http == 422) {
    return invalid_argument("{}; the subject holds another schema, use one of its own", what);
  }
  return unavailable("{}", what);
}

}  // namespace

Status check_registry_settings(const SchemaRegistrySettings& settings) {
  if (settings.subject.empty()) return invalid_argument("schema_registry.subject is missing");
  return address_of(settings.url).status();
}

StatusOr<uint32_t> register_schema(const SchemaRegistrySettings& settings, std::string_view schema,
                                   std::stop_token stop) {
  HG_ASSIGN_OR_RETURN(const Address address, address_of(settings.url));
  httplib::Client client(address.server);
  if (!client.is_valid()) return invalid_argument("schema_registry.url '{}' cannot be used", settings.url);
  client.set_connection_timeout(settings.timeout);
  client.set_read_timeout(settings.timeout);
  client.set_write_timeout(settings.timeout);
  if (!settings.user.empty()) client.set_basic_auth(settings.user.c_str(), settings.password.c_str());
  if (!settings.ca_file.empty()) client.set_ca_cert_path(settings.ca_file.c_str());
  std::string answer;
  bool endless = false;
  httplib::Request request;
  request.method = "POST";
  request.path = fmt::format("{}/subjects/{}/versions", address.path, in_path(settings.subject));
  request.headers = {{"Content-Type", kContentType}, {"Accept", kContentType}};
  request.body = nlohmann::json{{"schemaType", "PROTOBUF"}, {"schema", schema}}.dump();
  request.content_receiver = [&](const char* data, size_t size, uint64_t, uint64_t) {
    endless = answer.size() + size > kAnswerBytesMax;
    if (!endless) answer.append(data, size);
    return !endless;
  };
  const std::stop_callback leave(stop, [&] { client.stop(); });
  const httplib::Result result = client.send(request);
  if (stop.stop_requested()) return make_status(StatusCode::kCancelled, "stopped");
  if (endless) return unavailable("schema registry {}: the answer has no end", settings.url);
  if (!result) {
    return unavailable("schema registry {}: no answer: {}", settings.url, httplib::to_string(result.error()));
  }
  if (result->status != 200) return refusal(settings, result->status, answer);
  const auto json = nlohmann::json::parse(answer, nullptr, false);
  const bool has_id = json.is_object() && json.contains("id") && json["id"].is_number_unsigned();
  const uint64_t id = has_id ? json["id"].get<uint64_t>() : 0;
  if (id == 0 || id > UINT32_MAX) {
    return unavailable("schema registry {}: its answer names no id: {}", settings.url, answer.substr(0, kToldBytesMax));
  }
  return static_cast<uint32_t>(id);
}

}  // namespace headgate::sinks
