// What is asked after an attack: how soon each sink goes on, and whether it holds exactly what it promises.
#pragma once

#include <atomic>
#include <chrono>
#include <map>
#include <memory>
#include <set>
#include <string>

#include "tests/support/delivery.h"
#include "tests/support/load.h"
#include "tests/support/world.h"

namespace headgate::testing {

// A tenant of its own whose transactions are looked for in the sinks. Make it before the relay is started.
class Beacon {
 public:
  explicit Beacon(World& world);

  // Writes one transaction, trying again while the engine cannot, and waits until each of the sinks has it. Fails the
  // case when that takes longer than `bound`, and tells the times otherwise.
  void light(const std::string& after, const std::set<std::string>& sinks, std::chrono::seconds bound);
  // The same without waiting: the xid to look for.
  uint64_t write(std::chrono::seconds bound);
  bool arrived(const std::string& sink, uint64_t xid) const { return seen_->at(sink) >= xid; }

 private:
  World& world_;
  // Shared with the subscribers, which may live longer.
  using Seen = std::map<std::string, std::atomic<uint64_t>>;
  const std::shared_ptr<Seen> seen_ = std::make_shared<Seen>();
  int count_ = 0;
};

// Ends the load and waits until every sink of `sinks` holds all that the database holds; then each must be complete and
// in order, with repeats only where they are allowed. Returns the truth.
Truth check_aftermath(World& world, Load& load, const std::set<std::string>& sinks,
                      const std::set<std::string>& repeats_allowed, std::chrono::seconds bound);

// The sinks that a subscriber reads from the beginning, and that lose nothing.
inline const std::set<std::string> kDurableSinks = {"file", "kafka", "nats_jetstream", "redis_streams"};

// Settings that notice silence and try again within seconds, where the defaults take their time: WorldOptions.sink_yaml
// and upstream_yaml.
extern const std::map<std::string, std::string> kQuickSinks;
extern const std::string kQuickUpstream;

size_t transactions_in(const Truth& truth);
// Waits until so many different events are there.
bool wait_for_distinct(const Subscriber& subscriber, size_t total, std::chrono::seconds timeout);

}  // namespace headgate::testing
