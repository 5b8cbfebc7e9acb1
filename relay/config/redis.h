// How Redis is reached, the same for sinks and token store.
#pragma once

#include "base/redis/settings.h"
#include "base/settings.h"

namespace headgate::relay {

struct RedisWords {
  const char* user;
  const char* timeout;
};

void describe_redis(Settings& s, redis::ClientSettings& c, const RedisWords& words);

}  // namespace headgate::relay
