#include "base/signals.h"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <condition_variable>
#include <mutex>

#include "base/log.h"

namespace headgate {
namespace {

sigset_t our_signals() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGHUP);
  return set;
}

}  // namespace

SignalStop::SignalStop(std::function<void()> on_hangup) : on_hangup_(std::move(on_hangup)) {
  const sigset_t set = our_signals();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  signal(SIGPIPE, SIG_IGN);
  thread_ = std::jthread([this] { run(); });
}

SignalStop::~SignalStop() {
  leaving_ = true;
  pthread_kill(thread_.native_handle(), SIGTERM);
}

void SignalStop::run() {
  const sigset_t set = our_signals();
  for (;;) {
    int number = 0;
    if (sigwait(&set, &number) != 0) continue;
    if (leaving_) return;
    if (number == SIGHUP) {
      log_info("signal", {{"name", "SIGHUP"}});
      if (on_hangup_ && !source_.stop_requested()) on_hangup_();
      continue;
    }
    if (source_.stop_requested()) _exit(128 + number);
    log_info("signal", {{"name", number == SIGTERM ? "SIGTERM" : "SIGINT"}});
    source_.request_stop();
  }
}

void SignalStop::wait() {
  std::mutex mutex;
  std::condition_variable_any changed;
  std::unique_lock lock(mutex);
  changed.wait(lock, source_.get_token(), [] { return false; });
}

}  // namespace headgate
