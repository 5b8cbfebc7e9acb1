// What an operator sets, as the settings of each part of the engine. Pure, but for the name of the process in
// GcSettings.
#pragma once

#include <string>
#include <vector>

#include "engine/api/server.h"
#include "engine/check/check_service.h"
#include "engine/config/config.h"
#include "engine/feed/feed.h"
#include "engine/gc/collector.h"
#include "engine/storage/pool.h"
#include "engine/watch/watch_service.h"

namespace headgate::engine {

PoolSettings pool_settings(const EngineConfig& config);
// For the health checker alone: a busy pool must not look like a database that is away.
PoolSettings probe_settings(const DatabaseConfig& config);
ServerSettings server_settings(const EngineConfig& config);
HistoryOpener history_opener(const DatabaseConfig& config, std::stop_token stop, std::shared_ptr<Pool> pool);
FeedSettings feed_settings(const FeedConfig& config);
WatchSettings watch_settings(const EngineConfig& config);
GcSettings gc_settings(const EngineConfig& config, std::shared_ptr<Pool> pool);
CheckSettings check_settings(const EngineConfig& config);
// Empty: everybody may call.
std::vector<std::string> accepted_keys(const AuthnConfig& config);

}  // namespace headgate::engine
