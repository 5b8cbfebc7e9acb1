#include "relay/admin/access.h"

#include <strings.h>

namespace headgate::relay {

namespace {

constexpr const char* kRefusalType = "text/plain; charset=utf-8";
constexpr const char* kScheme = "Bearer ";

// In a time that does not tell how much of it was right.
bool same(const std::string& a, const std::string& b) {
  unsigned difference = a.size() == b.size() ? 0 : 1;
  for (size_t i = 0; i < a.size(); ++i) {
    difference |= static_cast<unsigned char>(a[i]) ^ static_cast<unsigned char>(b.empty() ? 0 : b[i % b.size()]);
  }
  return difference == 0;
}

}  // namespace

bool is_loopback(const std::string& address) {
  return address.rfind("127.", 0) == 0 || address == "::1" || address == "localhost";
}

std::optional<HttpResponse> refusal(const AdminAccess& access, const HttpRequest& request) {
  if (access.token.empty()) {
    if (!access.loopback) {
      return HttpResponse{403, kRefusalType,
                          "orders are off: the admin address can be reached from other machines and admin.token is not "
                          "set\n"};
    }
    if (!request.origin.empty()) return HttpResponse{403, kRefusalType, "orders of web pages are refused\n"};
    return std::nullopt;
  }
  const std::string& given = request.authorization;
  const size_t scheme = std::string(kScheme).size();
  if (strncasecmp(given.c_str(), kScheme, scheme) == 0 && same(given.substr(scheme), access.token)) return std::nullopt;
  HttpResponse refused{401, kRefusalType, "send the admin token: Authorization: Bearer <admin.token>\n"};
  refused.headers["WWW-Authenticate"] = "Bearer";
  return refused;
}

}  // namespace headgate::relay
