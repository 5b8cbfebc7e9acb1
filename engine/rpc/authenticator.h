// Who may call. Thread-safe.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/mutex.h"
#include "base/status.h"
#include "engine/rpc/call.h"

namespace headgate::engine {

class Authenticator {
 public:
  // Without keys every caller is accepted.
  explicit Authenticator(std::vector<std::string> keys) { replace(std::move(keys)); }
  // From now on these keys count; calls that were accepted go on.
  void replace(std::vector<std::string> keys);

  // `authorization` is the value of that header, empty when absent. UNAUTHENTICATED with
  // ERROR_CODE_MISSING_BEARER_TOKEN or ERROR_CODE_INVALID_KEY.
  StatusOr<Principal> identify(std::string_view authorization) const;
  Status check(std::string_view authorization) const { return identify(authorization).status(); }

 private:
  using Keys = std::shared_ptr<const std::vector<std::string>>;
  Keys keys() const;

  mutable Mutex mutex_;
  Keys keys_ GUARDED_BY(mutex_);
};

// Time depends on the length of `a` only.
bool equal_in_constant_time(std::string_view a, std::string_view b);

}  // namespace headgate::engine
