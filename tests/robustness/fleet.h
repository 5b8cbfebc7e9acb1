// One database and any number of engine programs on it, without a relay: what the engine's half of this suite attacks.
//
//   TEST_CASE("...") {
//     HG_FLEET(fleet);
//     Pod& pod = fleet->start();
//     WatchReader reader(*pod.client, "acme", kBeginning);
//
// When the case fails, the ends of all log files are printed as the fleet goes. Not thread-safe, and pods may only be
// started from the thread that runs the test.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "tests/support/delivery.h"
#include "tests/support/engine_client.h"
#include "tests/support/postgres.h"
#include "tests/support/world.h"

namespace headgate::testing {

// Settings of the engine by their dotted names, e.g. {"feed.part_bytes_max", "64KiB"}.
using EngineValues = std::map<std::string, std::string>;

struct Pod {
  EngineProgram program;
  std::unique_ptr<EngineClient> client;
};

class Fleet {
 public:
  // nullptr, and the case is marked as skipped, when there is no PostgreSQL.
  static std::unique_ptr<Fleet> create();
  // On a database that somebody else keeps.
  explicit Fleet(std::string uri);
  ~Fleet();

  const std::string& uri() const { return uri_; }
  const std::string& folder() const { return folder_.path(); }
  // A pod that is ready. Its clients may open streams as fast as they like unless `values` say otherwise.
  // `guards_off` as in HEADGATE_GUARDS_OFF.
  Pod& start(const EngineValues& values = {}, const std::string& guards_off = "");
  // Registered tenants without a schema, by SQL: fast, for many of them.
  void add_tenants(const std::string& prefix, int count);

 private:
  std::unique_ptr<PostgresDatabase> database_;
  std::string uri_;
  TempFolder folder_;
  std::vector<std::unique_ptr<Pod>> pods_;
};

// One value of /metrics without labels, or the sum over all labels; -1 when there is none.
double metric_of(int admin_port, const std::string& name);
template <typename Server>
double metric_of(const Server& program, const std::string& name) {
  return metric_of(program.admin_port(), name);
}
// Returns when the pod's feed has looked at the database twice from the beginning; fails the case when it does not.
void let_it_look(const Pod& pod);

// Waits until the stream has carried the tenant's last transaction to its end; false after `timeout`.
bool wait_for_all(const WatchReader& reader, const Truth& truth, std::chrono::milliseconds timeout);
// What became of a stream that should end; waits for it.
StreamEnd end_of(const WatchReader& reader, std::chrono::steady_clock::time_point since,
                 std::chrono::milliseconds timeout);
// F1, F2 and F7 of all these streams of one tenant: the first violation, or "".
std::string check_readers(const Truth& truth, const std::vector<const WatchReader*>& readers,
                          std::chrono::milliseconds timeout);

}  // namespace headgate::testing

#define HG_FLEET(name)                                    \
  const auto name = ::headgate::testing::Fleet::create(); \
  if (name == nullptr) return
