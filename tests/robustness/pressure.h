// What tests of limits share: large transactions in quick succession, the memory that a program takes meanwhile, and
// what it says of itself.
#pragma once

#include <atomic>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>

#include "tests/support/world.h"

namespace headgate::testing {

struct Flood {
  std::string tenant;
  std::string prefix;  // of entity ids; each flood of one tenant needs its own
  int transactions = 0;
  size_t bytes = 0;  // of each, and they cannot be compressed
};
// Committed in SQL, because what is in front of the database is not under test: doc:<prefix><i>$note=<text>.
void flood(const std::string& database_uri, const Flood& flood);

// The highest resident memory of a process while the object lives.
class MemoryPeak {
 public:
  explicit MemoryPeak(pid_t pid);
  size_t bytes() const { return bytes_; }

 private:
  std::atomic<size_t> bytes_ = 0;
  std::jthread thread_;
};
size_t resident_bytes(pid_t pid);

// The line of one sink in /status.
nlohmann::json sink_status(const RelayProgram& relay, const std::string& sink);
// The lines of one tenant, by sink.
std::map<std::string, nlohmann::json> tenant_status(const RelayProgram& relay, const std::string& tenant);
// The value of one series of /metrics, as "name{label=\"value\"}"; 0 when it is not there.
double metric(int admin_port, const std::string& series);

// One sink of a relay that the test configures itself: kind and its settings as lines of "key: value".
struct SinkText {
  std::string name;
  std::string kind;
  std::string lines;
};
// A relay on the world's engine, from the earliest event on, with a token store of its own. `more`: further settings.
std::unique_ptr<RelayProgram> make_relay(World& world, const std::string& name, const std::vector<SinkText>& sinks,
                                         const std::string& more = "");

// One command in Redis' inline form; the first line of the answer.
std::string redis_command(const RedisServer& server, const std::string& command);

}  // namespace headgate::testing
