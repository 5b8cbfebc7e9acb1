#include "tests/bench/table.h"

#include <fmt/format.h>
#include <sys/utsname.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <thread>

namespace headgate::bench {
namespace {

std::string line_of(const std::string& path, const std::string& key) {
  std::ifstream in(path);
  for (std::string line; std::getline(in, line);) {
    if (line.rfind(key, 0) == 0) return line.substr(line.find_first_not_of(" \t", line.find(':') + 1));
  }
  return "unknown";
}

std::string machine() {
  utsname system{};
  ::uname(&system);
  char date[32];
  const time_t now = std::time(nullptr);
  std::strftime(date, sizeof date, "%Y-%m-%d", std::gmtime(&now));
  return fmt::format("{} · {} cores of {} · memory {} · Linux {} · build {}", date, std::thread::hardware_concurrency(),
                     line_of("/proc/cpuinfo", "model name"), line_of("/proc/meminfo", "MemTotal"), system.release,
                     HEADGATE_BUILD_TYPE);
}

}  // namespace

void Table::add(Row row) {
  std::printf("%-58s %14s  %s\n", row.what.c_str(), row.value.c_str(), row.ratio.c_str());
  std::fflush(stdout);
  rows_.push_back(std::move(row));
}

std::string Table::markdown() const {
  std::string text =
      "# Results of `tests/bench/run`\n\n" + machine() +
      "\n\nEverything of a run shares these cores: servers, engine, relay, subscribers and the harness. "
      "Count and order were verified at the end of each row that says so.\n\n"
      "| measured | value | limit in the same run | ratio | conditions |\n| --- | --- | --- | --- | --- |\n";
  for (const Row& row : rows_) {
    text += fmt::format("| {} | {} | {} | {} | {} |\n", row.what, row.value, row.limit, row.ratio, row.note);
  }
  return text;
}

void Table::save() const {
  const char* path = std::getenv("HEADGATE_BENCH_RESULTS");
  if (path != nullptr) std::ofstream(path, std::ios::trunc) << markdown();
}

std::string per_second(double rate) {
  return rate < 10'000 ? fmt::format("{:.0f} /s", rate) : fmt::format("{:.0f} k/s", rate / 1'000);
}

std::string milliseconds(double ms) { return fmt::format("{:.2f} ms", ms); }

std::string ratio(double value, double limit) { return limit > 0 ? fmt::format("{:.2f}", value / limit) : ""; }

double percentile(std::vector<double> values, double share) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const auto place = static_cast<size_t>(share * static_cast<double>(values.size()));
  return values[std::min(place, values.size() - 1)];
}

}  // namespace headgate::bench
