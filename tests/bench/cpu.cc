#include "tests/bench/cpu.h"

#include <fmt/format.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <vector>

#include "tests/bench/shared.h"

namespace headgate::bench {
namespace {

namespace fs = std::filesystem;

bool is_number(const std::string& text) {
  return !text.empty() && text.find_first_not_of("0123456789") == std::string::npos;
}

// The inode of the socket that listens on the port; empty when nobody does.
std::string socket_listening(int port) {
  for (const char* table : {"/proc/net/tcp", "/proc/net/tcp6"}) {
    std::ifstream in(table);
    std::string line;
    std::getline(in, line);
    while (std::getline(in, line)) {
      std::istringstream words(line);
      std::vector<std::string> fields;
      for (std::string word; words >> word;) fields.push_back(word);
      const bool listens = fields.size() > 9 && fields[3] == "0A";
      if (listens && fields[1].ends_with(fmt::format(":{:04X}", port))) return fields[9];
    }
  }
  return {};
}

double used_by(pid_t pid) { return pid == ::getpid() ? cpu_seconds(pid) : cpu_seconds_with_children(pid); }

}  // namespace

pid_t listener_of(int port) {
  const std::string inode = socket_listening(port);
  if (inode.empty()) return -1;
  const std::string wanted = "socket:[" + inode + "]";
  std::error_code ignored;
  for (const auto& process : fs::directory_iterator("/proc")) {
    const std::string name = process.path().filename();
    if (!is_number(name)) continue;
    for (const auto& fd : fs::directory_iterator(process.path() / "fd", ignored)) {
      if (fs::read_symlink(fd.path(), ignored) == wanted) return static_cast<pid_t>(std::stol(name));
    }
  }
  return -1;
}

CpuWatch::CpuWatch(std::map<std::string, pid_t> programs) : programs_(std::move(programs)) {
  for (const auto& [name, pid] : programs_) begin_[name] = used_by(pid);
}

std::map<std::string, double> CpuWatch::microseconds_each(size_t pieces) const {
  std::map<std::string, double> each;
  for (const auto& [name, pid] : programs_) {
    each[name] = (used_by(pid) - begin_.at(name)) * 1e6 / static_cast<double>(pieces);
  }
  return each;
}

std::string describe_cpu(const std::map<std::string, double>& microseconds) {
  std::string text;
  double sum = 0;
  for (const auto& [name, each] : microseconds) {
    text += fmt::format("{}{} {:.1f}", text.empty() ? "" : " + ", name, each);
    sum += each;
  }
  return microseconds.size() < 2 ? text + " us an event" : fmt::format("{} = {:.1f} us an event", text, sum);
}

}  // namespace headgate::bench
