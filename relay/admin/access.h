// Who may change something over HTTP. Reading is open to all who reach the address; see SECURITY.md.
#pragma once

#include <optional>
#include <string>

#include "base/http_server.h"

namespace headgate::relay {

struct AdminAccess {
  std::string token;      // secret; empty: none
  bool loopback = false;  // the server listens on an address of this machine alone
};

// True for addresses that only this machine reaches.
bool is_loopback(const std::string& address);

// The refusal of an order, or nothing when it may pass: with the token, or without one on a loopback address, where no
// web page of somebody else may ask.
std::optional<HttpResponse> refusal(const AdminAccess& access, const HttpRequest& request);

}  // namespace headgate::relay
