#include "tests/bench/backlog_world.h"

#include <cstdlib>

namespace headgate::bench {
namespace {

size_t filled = 0;
bool has_tenants = false;

}  // namespace

size_t backlog_size() {
  const char* given = std::getenv("HEADGATE_BENCH_TRANSACTIONS");
  return (given == nullptr ? 1'000'000 : std::strtoull(given, nullptr, 10)) / 4 * 4;
}

const std::string& backlog_uri() {
  static const std::string uri = database().make("backlog");
  return uri;
}

size_t backlog_filled() { return filled; }

void fill_backlog(size_t transactions) {
  if (transactions <= filled) return;
  write_backlog(backlog_uri(), filled + 1, transactions);
  filled = transactions;
}

std::unique_ptr<testing::World> backlog_world(testing::WorldOptions options, size_t transactions) {
  options.engine_yaml = kManyStreams;
  options.database_uri = backlog_uri();
  auto world = testing::World::create(options);
  if (world == nullptr) return nullptr;
  if (!std::exchange(has_tenants, true)) world->create_tenants(backlog_tenants());
  fill_backlog(transactions);
  return world;
}

}  // namespace headgate::bench
