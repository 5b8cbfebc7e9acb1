// What Prometheus' client libraries tell of every process, under their names: process_cpu_seconds_total,
// process_resident_memory_bytes, process_virtual_memory_bytes, process_open_fds, process_max_fds, process_threads,
// process_start_time_seconds; and headgate_build_info{program,version,commit}, always 1, headgate_memory_limit_bytes
// and headgate_memory_left_bytes (memory_limit.h).
#pragma once

#include <string>

#include "base/metrics.h"

namespace headgate {

struct BuildInfo {
  std::string program;  // "headgate-engine"
  std::string version;
  std::string commit;  // "unknown" when it was not built from a clone
};

void add_process_metrics(Metrics& metrics, const BuildInfo& build);

}  // namespace headgate
