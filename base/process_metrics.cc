#include "base/process_metrics.h"

#include <sys/resource.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "base/memory_limit.h"

namespace headgate {
namespace {

// Fields of /proc/self/stat by their number in proc(5).
enum Field { kUserTicks = 14, kSystemTicks = 15, kThreads = 20, kStartTicks = 22, kVirtualBytes = 23, kPages = 24 };

double stat_field(Field wanted) {
  std::ifstream file("/proc/self/stat");
  std::string text;
  std::getline(file, text);
  // The name of the process, the second field, is in brackets and may hold anything.
  std::istringstream rest(text.substr(std::min(text.size(), text.rfind(')') + 1)));
  std::string word;
  for (int field = 3; rest >> word; ++field) {
    if (field == wanted) return std::strtod(word.c_str(), nullptr);
  }
  return 0;
}

double ticks_per_second() { return static_cast<double>(::sysconf(_SC_CLK_TCK)); }

double cpu_seconds() { return (stat_field(kUserTicks) + stat_field(kSystemTicks)) / ticks_per_second(); }

double open_files() {
  std::error_code error;
  double count = 0;
  for (std::filesystem::directory_iterator at("/proc/self/fd", error), end; !error && at != end; at.increment(error)) {
    ++count;
  }
  // One of them is the walk's own.
  return std::max(0.0, count - 1);
}

double max_files() {
  rlimit limit{};
  return ::getrlimit(RLIMIT_NOFILE, &limit) == 0 ? static_cast<double>(limit.rlim_cur) : 0;
}

// Seconds since 1970: the machine's start and the ticks from there on.
double start_time() {
  std::ifstream file("/proc/stat");
  for (std::string word; file >> word;) {
    double boot = 0;
    if (word == "btime" && file >> boot) return boot + stat_field(kStartTicks) / ticks_per_second();
  }
  return 0;
}

}  // namespace

void add_process_metrics(Metrics& metrics, const BuildInfo& build) {
  metrics
      .gauge("headgate_build_info", "Always 1",
             {{"program", build.program}, {"version", build.version}, {"commit", build.commit}})
      .Set(1);
  metrics.gauge("process_start_time_seconds", "Start of the process, in seconds since 1970").Set(start_time());
  metrics.counter_from("process_cpu_seconds_total", "CPU time of the process", {}, cpu_seconds);
  metrics.gauge_from("process_resident_memory_bytes", "Memory in use", {},
                     [] { return stat_field(kPages) * static_cast<double>(::sysconf(_SC_PAGESIZE)); });
  metrics.gauge_from("process_virtual_memory_bytes", "Address space in use", {},
                     [] { return stat_field(kVirtualBytes); });
  const auto memory = std::make_shared<MemoryLimit>();
  metrics.gauge_from("headgate_memory_limit_bytes", "What the process may have, by the nearest limit; 0: without one",
                     {}, [memory] { return static_cast<double>(memory->room().limit); });
  metrics.gauge_from("headgate_memory_left_bytes", "What is left of it", {},
                     [memory] { return static_cast<double>(memory->room().left()); });
  metrics.gauge_from("process_threads", "Threads of the process", {}, [] { return stat_field(kThreads); });
  metrics.gauge_from("process_open_fds", "Open file descriptors", {}, open_files);
  metrics.gauge("process_max_fds", "Limit of open file descriptors").Set(max_files());
}

}  // namespace headgate
