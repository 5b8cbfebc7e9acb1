// Write transactions in the engine's shape at a constant rate, as a second program would make them: one round trip a
// transaction over a few connections, driven by one thread without blocking calls, so that the load costs little beside
// what it loads.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace headgate::bench {

struct SqlLoad {
  std::string database;
  std::vector<std::string> tenants;  // in turn; one tuple a transaction
  double rate = 0;                   // transactions a second
  size_t transactions = 0;
  int connections = 4;
  std::string prefix = "d";  // of entity ids
};

struct LoadResult {
  double cpu_share = 0;   // of one core, by the thread that made the load
  double lag_ms_max = 0;  // how far a transaction was sent behind its time at worst
};

// Blocks until all are committed. Throws std::runtime_error when a statement fails.
LoadResult run_load(const SqlLoad& load);

}  // namespace headgate::bench
