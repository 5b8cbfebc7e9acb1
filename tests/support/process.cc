#include "tests/support/process.h"

#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <stdexcept>

#include "tests/support/test_main.h"

namespace headgate::testing {

TempFolder::TempFolder(const std::string& name) {
  std::string pattern = (std::filesystem::temp_directory_path() / (name + "-XXXXXX")).string();
  if (::mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("cannot make a folder like " + pattern);
  path_ = pattern;
  std::filesystem::permissions(path_, std::filesystem::perms::others_all, std::filesystem::perm_options::add);
}

TempFolder::~TempFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

namespace {

[[noreturn]] void run_child(const Process::Options& options, pid_t parent) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(127);
  const std::string log = options.log_file.empty() ? "/dev/null" : options.log_file;
  const int out = ::open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0666);
  const int in = ::open("/dev/null", O_RDONLY);
  ::dup2(in, 0);
  ::dup2(out, 1);
  ::dup2(out, 2);
  for (int fd = 3; fd < 256; ++fd) ::close(fd);
  if (!options.user.empty() && ::getuid() == 0) {
    const passwd* entry = ::getpwnam(options.user.c_str());
    if (entry == nullptr || ::initgroups(options.user.c_str(), entry->pw_gid) != 0 || ::setgid(entry->pw_gid) != 0 ||
        ::setuid(entry->pw_uid) != 0) {
      ::_exit(126);
    }
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  }
  for (const auto& [key, value] : options.env) ::setenv(key.c_str(), value.c_str(), 1);
  std::vector<char*> argv;
  for (const std::string& word : options.argv) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  ::execvp(argv[0], argv.data());
  ::_exit(127);
}

}  // namespace

Process::Process(const Options& options) {
  const pid_t parent = ::getpid();
  pid_ = ::fork();
  if (pid_ < 0) throw std::runtime_error("cannot fork");
  if (pid_ == 0) run_child(options, parent);
}

Process::~Process() { kill(); }

bool Process::reap(bool block) {
  if (ended_) return true;
  int status = 0;
  const pid_t got = ::waitpid(pid_, &status, block ? 0 : WNOHANG);
  if (got != pid_) return false;
  ended_ = true;
  exit_code_ = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  return true;
}

bool Process::running() { return !reap(false); }

void Process::signal(int number) {
  if (running()) ::kill(pid_, number);
}

bool Process::wait(std::chrono::milliseconds timeout) {
  return wait_until([this] { return reap(false); }, timeout);
}

void Process::stop(std::chrono::milliseconds grace) {
  signal(SIGTERM);
  if (!wait(grace)) kill();
}

void Process::kill() {
  signal(SIGKILL);
  reap(true);
}

size_t Process::resident_bytes() const {
  std::ifstream statm("/proc/" + std::to_string(pid_) + "/statm");
  size_t total = 0, resident = 0;
  statm >> total >> resident;
  return resident * static_cast<size_t>(::sysconf(_SC_PAGESIZE));
}

bool memory_below(size_t bytes, size_t bound) {
#if defined(__SANITIZE_ADDRESS__)
  return true;
#else
  return bytes < bound;
#endif
}

std::string read_file(const std::string& path) {
  std::ifstream in(path);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

void write_file(const std::string& path, const std::string& text) {
  std::ofstream out(path, std::ios::trunc);
  out << text;
}

}  // namespace headgate::testing
