// The last resort of a program that was told to stop: when a thread hangs in somebody else's library, the process ends
// all the same. What must not be lost is committed by then, or is repeated at the next start.
#pragma once

#include <stop_token>
#include <thread>

#include "base/clock.h"

namespace headgate {

class LastResort {
 public:
  // From the moment that `stop` is requested the process has `limit` to destroy this object; then it ends with
  // `exit_code` and a line in the log.
  LastResort(std::stop_token stop, Duration limit, int exit_code);
  LastResort(const LastResort&) = delete;
  LastResort& operator=(const LastResort&) = delete;

 private:
  std::jthread thread_;
};

}  // namespace headgate
