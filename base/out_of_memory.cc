#include "base/out_of_memory.h"

#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <exception>
#include <new>
#include <system_error>

#include "base/log.h"

namespace headgate {
namespace {

constexpr size_t kNothingLeft = 64 << 20;

int code_of_the_end = 1;
std::terminate_handler before = nullptr;

[[noreturn]] void end_for_memory() {
  log_last_words("out_of_memory",
                 "there is no more memory: a limit of address space (ulimit -v), of the container or of the machine is "
                 "reached; raise it, or lower what the settings allow to be held");
  _exit(code_of_the_end);
}

[[noreturn]] void end_for_threads() {
  log_last_words("out_of_threads",
                 "a thread cannot be started: the limit of processes (ulimit -u, pids.max) or of memory is reached");
  _exit(code_of_the_end);
}

// What asked for memory in C tells nobody that there was none.
bool nothing_left() {
  void* const some =
      ::mmap(nullptr, kNothingLeft, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (some == MAP_FAILED) return true;
  ::munmap(some, kNothingLeft);
  return false;
}

// Does nothing that a signal handler may not. When it returns, what was about to happen happens.
void on_signal(int) {
  if (nothing_left()) end_for_memory();
}

void on_terminate() {
  if (const std::exception_ptr thrown = std::current_exception()) {
    try {
      std::rethrow_exception(thrown);
    } catch (const std::bad_alloc&) {
      end_for_memory();
    } catch (const std::system_error& error) {
      if (error.code() == std::errc::resource_unavailable_try_again) end_for_threads();
    } catch (...) {
    }
  }
  before();
}

}  // namespace

void end_without_memory(int exit_code) {
  code_of_the_end = exit_code;
  std::set_new_handler(&end_for_memory);
  const std::terminate_handler other = std::set_terminate(&on_terminate);
  if (other != &on_terminate) before = other;
  struct sigaction action {};
  action.sa_handler = &on_signal;
  action.sa_flags = SA_RESETHAND | SA_ONSTACK;
  ::sigaction(SIGABRT, &action, nullptr);
#ifndef HEADGATE_SANITIZED  // they tell more of it
  // A stack that cannot grow, or somebody who did not look at what malloc() gave him.
  static std::array<char, 64 << 10> stack;
  stack_t other_stack{};
  other_stack.ss_sp = stack.data();
  other_stack.ss_size = stack.size();
  ::sigaltstack(&other_stack, nullptr);
  ::sigaction(SIGSEGV, &action, nullptr);
#endif
}

}  // namespace headgate
