// What the rows of the path's bench share: the one table, the one database server, and the clock of the processes.
// For the main thread of the program, since servers belong to the thread that starts them.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <string>

#include "tests/bench/table.h"
#include "tests/support/servers.h"

namespace headgate::bench {

using Clock = std::chrono::steady_clock;

// Collects the rows of all cases; each case saves it when it has added its own.
Table& table();

// One server for all rows that share a database server: with commit times, and with the statistics that the cost of
// statements is read from. fsync is off.
class BenchDatabase {
 public:
  BenchDatabase();
  // A new database on it; returns its uri.
  std::string make(const std::string& name) const;
  pid_t pid() const { return server_.pid(); }

 private:
  testing::TempFolder folder_{"headgate-bench"};
  testing::PostgresServer server_;
};

// Starts with its first use.
BenchDatabase& database();

// More streams at once than an engine admits by default.
inline const char* const kManyStreams = "watch:\n  opens_per_second: 100000\n  opens_burst: 100000\n";

double seconds_since(Clock::time_point begin);

// Processor seconds that a process has used, and those of a server together with all of its children.
double cpu_seconds(pid_t pid);
double cpu_seconds_with_children(pid_t pid);
// Of the calling thread, and of the children that this process has waited for.
double thread_cpu_seconds();
double reaped_cpu_seconds();

}  // namespace headgate::bench
