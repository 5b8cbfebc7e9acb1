#include "base/last_resort.h"

#include <pthread.h>
#include <unistd.h>

#include "base/log.h"

namespace headgate {
namespace {

// Until `wanted` is requested, however long that takes. False when `leaving` comes first.
bool wait_for_stop(std::stop_token wanted, std::stop_token leaving) {
  std::stop_source either;
  std::stop_callback first(wanted, [&either] { either.request_stop(); });
  std::stop_callback second(leaving, [&either] { either.request_stop(); });
  while (system_clock().sleep(std::chrono::hours(1), either.get_token())) {
  }
  return !leaving.stop_requested();
}

}  // namespace

LastResort::LastResort(std::stop_token stop, Duration limit, int exit_code)
    : thread_([wanted = std::move(stop), limit, exit_code](std::stop_token leaving) {
        if (!wait_for_stop(wanted, leaving) || !system_clock().sleep(limit, leaving)) return;
        log_error("shutdown_stuck", {{"waited_ms", limit.count()}});
        _exit(exit_code);
      }) {
  pthread_setname_np(thread_.native_handle(), "last-resort");
}

}  // namespace headgate
