#include "base/memory_limit.h"

#include <pthread.h>
#include <sys/resource.h>

#include <algorithm>
#include <fstream>
#include <sstream>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"

namespace headgate {
namespace {

constexpr size_t kMarginMax = 256 << 20;
constexpr Duration kLookEvery{250}, kLookCloselyEvery{20};  // the latter once three quarters are used
constexpr Duration kGiveBackEvery{1'000};

size_t number_in(const std::string& path) {
  std::ifstream file(path);
  size_t number = 0;
  return file >> number ? number : 0;  // "max" is none
}

// What version 1 tells when nobody has set a limit is the largest number of pages there is.
size_t limit_in(const std::string& path) {
  const size_t limit = number_in(path);
  return limit >= size_t{1} << 60 ? 0 : limit;
}

void take_least(size_t& least, size_t limit) {
  if (limit > 0 && (least == 0 || limit < least)) least = limit;
}

// In a container its own group is often all that can be seen, at the top, whatever path the kernel names.
size_t limit_of_groups(const std::string& root, const std::string& file, std::string path) {
  size_t least = limit_in(root + "/" + file);
  while (!path.empty() && path != "/") {
    take_least(least, limit_in(root + path + "/" + file));
    path.erase(path.rfind('/'));
  }
  return least;
}

}  // namespace

MemoryLimit::MemoryLimit(const std::string& groups, const std::string& proc) {
  std::ifstream file(proc + "/cgroup");
  for (std::string line; std::getline(file, line);) {
    // Number, controllers and path; "0::" is version 2.
    std::istringstream words(line);
    std::string number, controllers, path;
    std::getline(words, number, ':');
    std::getline(words, controllers, ':');
    std::getline(words, path);
    if (number == "0" && controllers.empty()) take_least(of_group_, limit_of_groups(groups, "memory.max", path));
    if (controllers == "memory") {
      take_least(of_group_, limit_of_groups(groups + "/memory", "memory.limit_in_bytes", path));
    }
  }
}

MemoryRoom MemoryLimit::room() const {
  MemoryRoom room;
  if (of_group_ > 0) room = {of_group_, resident_bytes(), "the memory limit of the container (memory.max)"};
  rlimit limit{};
  if (::getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return room;
  const MemoryRoom space{static_cast<size_t>(limit.rlim_cur), address_space_bytes(),
                         "the limit of address space (ulimit -v)"};
  return room.limit == 0 || space.left() < room.left() ? space : room;
}

bool MemoryShortage::look(const MemoryRoom& room) {
  const size_t margin = std::min(room.limit / 8, kMarginMax);
  short_ = room.limit > 0 && room.left() < (short_ ? margin / 8 * 9 : margin);
  return short_;
}

MemoryWatch::MemoryWatch() : thread_([this](const std::stop_token& stop) { run(stop); }) {
  pthread_setname_np(thread_.native_handle(), "memory-watch");
}

void MemoryWatch::run(const std::stop_token& stop) {
  MemoryShortage shortage;
  MonotonicTime given_back{};
  for (MemoryRoom room; !stop.stop_requested();
       system_clock().sleep(room.limit > 0 && room.left() < room.limit / 4 ? kLookCloselyEvery : kLookEvery, stop)) {
    room = limit_.room();
    const bool now_short = shortage.look(room);
    if (now_short && system_clock().now() - given_back >= kGiveBackEvery) {
      return_free_memory();
      given_back = system_clock().now();
    }
    if (now_short == short_) continue;
    short_ = now_short;
    if (now_short) {
      log_warn("memory_short", {{"limit_bytes", room.limit},
                                {"left_bytes", room.left()},
                                {"by", room.by},
                                {"help",
                                 "new work is refused until there is room; raise the limit, or lower what the "
                                 "settings allow to be held"}});
    } else {
      log_info("memory_suffices", {{"limit_bytes", room.limit}, {"left_bytes", room.left()}});
    }
  }
}

}  // namespace headgate
