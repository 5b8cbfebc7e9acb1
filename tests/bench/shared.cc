#include "tests/bench/shared.h"

#include <sys/resource.h>
#include <unistd.h>

#include <filesystem>
#include <optional>
#include <pqxx/pqxx>
#include <sstream>
#include <vector>

namespace headgate::bench {
namespace {

namespace fs = std::filesystem;

// The fields of /proc/<pid>/stat behind the name, which may hold spaces; the state comes first.
std::vector<std::string> stat_fields(const std::string& pid) {
  const std::string text = testing::read_file("/proc/" + pid + "/stat");
  const size_t name_end = text.rfind(')');
  std::vector<std::string> fields;
  if (name_end == std::string::npos) return fields;
  std::istringstream in(text.substr(name_end + 1));
  for (std::string field; in >> field;) fields.push_back(field);
  return fields;
}

// The places of stat_fields(): the parent, then user and system time of the process and of the children it has reaped.
constexpr size_t kParent = 1, kUser = 11, kSystem = 12, kChildrenUser = 13, kChildrenSystem = 14;

double seconds(const std::vector<std::string>& fields, size_t user, size_t system) {
  if (fields.size() <= system) return 0;
  return (std::stod(fields[user]) + std::stod(fields[system])) / static_cast<double>(::sysconf(_SC_CLK_TCK));
}

}  // namespace

Table& table() {
  static Table the_table;
  return the_table;
}

BenchDatabase::BenchDatabase()
    : server_(folder_.path() + "/postgres",
              {"shared_preload_libraries=pg_stat_statements", "pg_stat_statements.track_planning=on",
               "pg_stat_statements.track=all", "shared_buffers=256MB", "max_wal_size=4GB"}) {
  server_.start();
}

std::string BenchDatabase::make(const std::string& name) const {
  pqxx::connection connection(server_.uri());
  pqxx::nontransaction(connection).exec("CREATE DATABASE " + name);
  pqxx::connection inside(server_.uri(name));
  pqxx::nontransaction(inside).exec("CREATE EXTENSION pg_stat_statements");
  return server_.uri(name);
}

BenchDatabase& database() {
  static BenchDatabase the_database;
  return the_database;
}

double seconds_since(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

double cpu_seconds(pid_t pid) { return seconds(stat_fields(std::to_string(pid)), kUser, kSystem); }

namespace {

// Of the children that are there.
double children_cpu_seconds(pid_t pid) {
  double total = 0;
  for (const auto& entry : fs::directory_iterator("/proc")) {
    const std::string name = entry.path().filename().string();
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    const std::vector<std::string> fields = stat_fields(name);
    if (fields.size() > kParent && fields[kParent] == std::to_string(pid)) total += seconds(fields, kUser, kSystem);
  }
  return total;
}

}  // namespace

double cpu_seconds_with_children(pid_t pid) {
  const auto reaped = [&] { return seconds(stat_fields(std::to_string(pid)), kChildrenUser, kChildrenSystem); };
  // A child that is reaped while the others are looked at would count twice or not at all.
  for (;;) {
    const double before = reaped();
    const double children = children_cpu_seconds(pid);
    if (reaped() == before) return cpu_seconds(pid) + before + children;
  }
}

namespace {

double usage_of(int who) {
  rusage usage{};
  ::getrusage(who, &usage);
  const auto seconds_of = [](timeval time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
  };
  return seconds_of(usage.ru_utime) + seconds_of(usage.ru_stime);
}

}  // namespace

double thread_cpu_seconds() { return usage_of(RUSAGE_THREAD); }

double reaped_cpu_seconds() { return usage_of(RUSAGE_CHILDREN); }

}  // namespace headgate::bench
