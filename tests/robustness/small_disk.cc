#include "tests/robustness/small_disk.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <stdexcept>

namespace headgate::testing {

namespace {

std::string size_option(size_t bytes) { return "size=" + std::to_string(bytes); }

// Once for the thread: what is mounted from here on is nobody else's.
bool leave_namespace() {
  static thread_local const bool left =
      ::unshare(CLONE_NEWNS) == 0 && ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0;
  return left;
}

}  // namespace

std::unique_ptr<SmallDisk> SmallDisk::mount(const std::string& path, size_t bytes, std::string* reason) {
  std::filesystem::create_directories(path);
  if (!leave_namespace() || ::mount("tmpfs", path.c_str(), "tmpfs", 0, size_option(bytes).c_str()) != 0) {
    *reason = std::string("a small tmpfs cannot be mounted here: ") + std::strerror(errno);
    return nullptr;
  }
  return std::unique_ptr<SmallDisk>(new SmallDisk(path));
}

SmallDisk::~SmallDisk() { ::umount2(path_.c_str(), MNT_DETACH); }

void SmallDisk::resize(size_t bytes) {
  if (::mount("tmpfs", path_.c_str(), "tmpfs", MS_REMOUNT, size_option(bytes).c_str()) != 0) {
    throw std::runtime_error(std::string("cannot resize the tmpfs: ") + std::strerror(errno));
  }
}

void SmallDisk::fill() {
  const int fd = ::open((path_ + "/filler").c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
  constexpr std::array<char, 4096> kZeros{};
  while (::write(fd, kZeros.data(), kZeros.size()) > 0) {
  }
  ::close(fd);
}

void SmallDisk::empty() { std::filesystem::remove(path_ + "/filler"); }

}  // namespace headgate::testing
