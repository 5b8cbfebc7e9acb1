#include "tests/support/program.h"

#include <unistd.h>

#include <cstdlib>
#include <deque>
#include <fstream>
#include <sstream>
#include <stdexcept>

#include "tests/support/test_main.h"

namespace headgate::testing {

void Program::launch() {
  process_ = std::make_unique<Process>(Process::Options{
      .argv = options_.argv, .env = options_.env, .log_file = options_.log_file, .user = options_.user});
}

void Program::start() {
  launch();
  await_ready();
}

void Program::await_ready() {
  const bool ready = wait_until([this] { return !process_->running() || options_.ready(); }, options_.start_timeout);
  if (!ready || !process_->running()) {
    const std::string how = process_->running() ? "is not ready" : "ended, " + std::to_string(process_->exit_code());
    throw std::runtime_error(options_.name + " " + how + "; its log ends with:\n" + log_tail());
  }
}

int Program::stop(std::chrono::milliseconds grace) {
  if (process_ == nullptr) return 0;
  process_->stop(grace);
  return process_->exit_code();
}

void Program::kill() {
  if (process_ != nullptr) process_->kill();
}

void Program::signal(int number) { process_->signal(number); }
bool Program::wait(std::chrono::milliseconds timeout) { return process_->wait(timeout); }

void Program::pause() { process_->signal(SIGSTOP); }
void Program::resume() { process_->signal(SIGCONT); }

std::string Program::log_tail(size_t lines) const {
  std::ifstream in(options_.log_file);
  std::deque<std::string> kept;
  for (std::string line; std::getline(in, line);) {
    kept.push_back(line);
    if (kept.size() > lines) kept.pop_front();
  }
  std::string text;
  for (const std::string& line : kept) text += line + "\n";
  return text;
}

std::string find_program(const std::string& name) {
  const char* path = std::getenv("PATH");
  std::stringstream folders((path == nullptr ? "" : path) + std::string(":/usr/sbin:/usr/local/bin"));
  for (std::string folder; std::getline(folders, folder, ':');) {
    const std::string file = folder + "/" + name;
    if (!folder.empty() && ::access(file.c_str(), X_OK) == 0) return file;
  }
  return "";
}

}  // namespace headgate::testing
