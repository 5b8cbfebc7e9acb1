// The backlog that the drains read, in one database for all cases of the run. Not thread-safe.
#pragma once

#include <memory>
#include <string>

#include "tests/bench/backlog.h"
#include "tests/bench/shared.h"
#include "tests/support/world.h"

namespace headgate::bench {

// Transactions of the backlog, a multiple of four: HEADGATE_BENCH_TRANSACTIONS, 1,000,000 by default.
size_t backlog_size();

// A world over the backlog's database, filled with at least so many transactions of backlog_tenants(). Options of the
// database and of the engine are its own. nullptr: skipped.
std::unique_ptr<testing::World> backlog_world(testing::WorldOptions options, size_t transactions);
// Writes what is missing of the first `transactions` ones. REQUIRES: a world was made before.
void fill_backlog(size_t transactions);
size_t backlog_filled();
const std::string& backlog_uri();

// Counts messages and checks that xids rise; nothing is kept.
struct Drain {
  size_t messages = 0;
  uint64_t last_xid = 0;
  bool ordered = true;

  void take(uint64_t xid) {
    ++messages;
    ordered &= xid > last_xid;
    last_xid = xid;
  }
};

}  // namespace headgate::bench
