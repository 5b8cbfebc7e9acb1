// What is newest, of all tenants in one statement. Blocks on a connection of the pool; thread-safe.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/snap_token.h"
#include "base/status.h"
#include "engine/storage/pool.h"

namespace headgate::engine {

struct Heads {
  // Has everything that was committed when the statement was sent; of a standby, all up to a place in the history that
  // it has replayed.
  SnapToken at;
  bool standby = false;
  std::vector<std::string> versions;  // of the schemas, in the order of the tenants; empty: none
};

class HeadReader {
 public:
  virtual ~HeadReader() = default;
  virtual StatusOr<Heads> read(std::span<const std::string> tenants) = 0;
};

std::unique_ptr<HeadReader> make_head_reader(std::shared_ptr<Pool> pool);

}  // namespace headgate::engine
