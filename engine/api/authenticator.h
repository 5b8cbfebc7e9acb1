// Who may call. Thread-safe and immutable.
#pragma once

#include <grpcpp/grpcpp.h>

#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace headgate::engine {

class Authenticator {
 public:
  // Without keys every caller is accepted.
  explicit Authenticator(std::vector<std::string> keys) : keys_(std::move(keys)) {}

  // `authorization` is the value of that header, empty when absent. UNAUTHENTICATED with
  // ERROR_CODE_MISSING_BEARER_TOKEN or ERROR_CODE_INVALID_KEY.
  Status check(std::string_view authorization) const;
  Status check(const grpc::ServerContextBase& context) const;

 private:
  const std::vector<std::string> keys_;
};

// Time depends on the length of `a` only.
bool equal_in_constant_time(std::string_view a, std::string_view b);

}  // namespace headgate::engine
