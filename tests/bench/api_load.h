// Writes through the engine's gRPC API from one thread, with several calls under way at once.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tests/bench/sql_load.h"

namespace headgate::bench {

struct ApiLoad {
  std::string engine;  // address
  std::vector<std::string> tenants;
  double rate = 0;          // transactions a second; 0: as fast as the answers come
  size_t transactions = 0;  // 0: for `seconds`
  double seconds = 0;       // of calls sent; answers are waited for
  int calls_in_flight_max = 8;
  std::string prefix = "a";  // of entity ids
};

struct ApiResult {
  LoadResult load;
  size_t acknowledged = 0;
  double seconds = 0;  // from the first call to the last answer
};

// Blocks. Throws std::runtime_error when a write is refused.
ApiResult run_load(const ApiLoad& load);

}  // namespace headgate::bench
