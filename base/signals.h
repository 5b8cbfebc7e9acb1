// Turns SIGTERM and SIGINT into a stop token, and SIGHUP into a call, without a signal handler.
//
// Construct one first thing in main: it blocks the signals in the calling thread, and every thread made later inherits
// that. A thread waits for them. The first asks for a stop; the second ends the process at once with 128 + number.
// SIGPIPE is ignored as well. Programs that start children must unblock the signals there.
#pragma once

#include <atomic>
#include <functional>
#include <stop_token>
#include <thread>

namespace headgate {

class SignalStop {
 public:
  // `on_hangup` is called on the thread that waits for signals; without one SIGHUP is ignored.
  explicit SignalStop(std::function<void()> on_hangup = {});
  ~SignalStop();
  SignalStop(const SignalStop&) = delete;
  SignalStop& operator=(const SignalStop&) = delete;

  std::stop_token token() const { return source_.get_token(); }
  // As if the signal had come.
  void request_stop() { source_.request_stop(); }
  // Blocks until stop is requested.
  void wait();

 private:
  void run();

  const std::function<void()> on_hangup_;
  std::stop_source source_;
  std::atomic<bool> leaving_{false};
  std::jthread thread_;
};

}  // namespace headgate
