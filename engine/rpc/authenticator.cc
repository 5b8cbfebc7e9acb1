#include "engine/rpc/authenticator.h"

#include <strings.h>

#include "base/v1/errors.pb.h"

namespace headgate::engine {
namespace {

Status unauthenticated(base::v1::ErrorCode code) {
  return make_status(StatusCode::kUnauthenticated, base::v1::ErrorCode_Name(code));
}

}  // namespace

bool equal_in_constant_time(std::string_view a, std::string_view b) {
  volatile unsigned char difference = a.size() == b.size() ? 0 : 1;
  for (size_t i = 0; i < a.size(); ++i) {
    const unsigned char other = b.empty() ? 0 : static_cast<unsigned char>(b[i % b.size()]);
    difference = difference | static_cast<unsigned char>(static_cast<unsigned char>(a[i]) ^ other);
  }
  return difference == 0;
}

void Authenticator::replace(std::vector<std::string> keys) {
  auto made = std::make_shared<const std::vector<std::string>>(std::move(keys));
  MutexLock lock(mutex_);
  keys_ = std::move(made);
}

Authenticator::Keys Authenticator::keys() const {
  MutexLock lock(mutex_);
  return keys_;
}

StatusOr<Principal> Authenticator::identify(std::string_view authorization) const {
  const Keys accepted = keys();
  if (accepted->empty()) return Principal();
  constexpr std::string_view kScheme = "bearer ";
  const bool is_bearer =
      authorization.size() >= kScheme.size() && strncasecmp(authorization.data(), kScheme.data(), kScheme.size()) == 0;
  if (!is_bearer) return unauthenticated(base::v1::ERROR_CODE_MISSING_BEARER_TOKEN);
  authorization.remove_prefix(kScheme.size());
  bool known = false;
  for (const std::string& key : *accepted) known |= equal_in_constant_time(authorization, key);
  if (!known) return unauthenticated(base::v1::ERROR_CODE_INVALID_KEY);
  return Principal{"preshared"};
}

}  // namespace headgate::engine
