// What the parts count, shown under /metrics and /status.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "base/metrics.h"
#include "engine/api/health.h"
#include "engine/api/listener.h"
#include "engine/feed/feed.h"
#include "engine/storage/pool.h"
#include "engine/watch/watch_service.h"

namespace headgate::engine {

// What the unary calls are doing, on workers and in the writer.
struct CallLoad {
  size_t running = 0;
  size_t waiting = 0;
  size_t connections_in_use = 0;
};

void add_call_metrics(Metrics& metrics, const std::function<CallLoad()>& load, const Pool& pool,
                      const HealthChecker& health);
void add_connection_metrics(Metrics& metrics, const std::function<ListenerStats()>& stats);
void add_feed_metrics(Metrics& metrics, const Feed& feed, const WatchServices& watch);

nlohmann::ordered_json feed_status(const FeedStats& feed, const WatchStats& watch);

}  // namespace headgate::engine
