// One attempt at a write: what it is to do, and what became of it. Plain values.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "base/snap_token.h"
#include "base/status.h"
#include "engine/storage/write_statements.h"

namespace headgate::engine {

struct WriteOrder {
  std::string tenant;
  Statement lock;
  // The newest schema version the tenant must have; not asked for when empty.
  std::optional<std::string> head;
  // Called on the lane's thread for each attempt; must not block.
  std::function<Status(WriteStatements&)> fill;
  // Asked on the lane's thread before each attempt; may be empty. Anything but OK ends the write.
  std::function<Status()> wanted;
};

struct WriteAttempt {
  Status status;
  SnapToken token;          // of the transaction, once it has begun
  bool unwanted = false;    // by WriteOrder::wanted
  bool sent = false;        // a connection was found and the transaction's begin was sent
  bool in_doubt = false;    // the connection broke after COMMIT was sent
  bool head_moved = false;  // the tenant has another schema; nothing was written
  int backend = 0;
};

}  // namespace headgate::engine
