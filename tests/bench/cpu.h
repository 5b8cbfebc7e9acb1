// Processor time of programs, from /proc: what an event costs each of them does not depend on who else is busy.
#pragma once

#include <sys/types.h>

#include <map>
#include <string>

namespace headgate::bench {

// The process that listens on a TCP port of this machine; -1 when it is not found.
pid_t listener_of(int port);

// Samples a set of named processes at its construction: others with their children, since PostgreSQL is a family, but
// this process without, since its children are the servers.
class CpuWatch {
 public:
  explicit CpuWatch(std::map<std::string, pid_t> programs);
  // Microseconds a piece of work since the construction, by name.
  std::map<std::string, double> microseconds_each(size_t pieces) const;

 private:
  std::map<std::string, pid_t> programs_;
  std::map<std::string, double> begin_;
};

// "engine 4.1 + postgres 1.0 + relay 6.2 = 11.3 us an event".
std::string describe_cpu(const std::map<std::string, double>& microseconds);

}  // namespace headgate::bench
