// HistoryReader over PostgreSQL, 13.8 or newer, primary or standby.
//
// Reads Permify's tables and, where migrations.h has made them, headgate.gc_floors and headgate.incarnations; a row of
// the latter is all it ever writes.
#pragma once

#include <memory>
#include <stop_token>
#include <string>

#include "base/clock.h"
#include "engine/storage/history.h"

namespace headgate::engine {

struct HistorySettings {
  std::string uri;  // holds a secret, never logged
  Duration connect_timeout{5'000};
  Duration statement_timeout{30'000};
  std::string application_name = "headgate-feed";
  std::stop_token stop;  // ends an attempt to connect
};

// Blocks for a connection, at most as base/postgres/connect.h says. UNAVAILABLE when the database is away.
StatusOr<std::unique_ptr<HistoryReader>> open_history(const HistorySettings& settings);

}  // namespace headgate::engine
