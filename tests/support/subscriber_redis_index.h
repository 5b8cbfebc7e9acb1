// A reader of Redis streams that knows nothing but how to reach Redis and the index of streams: for any mode, and for
// streams that tenants share. As in subscribers.h.
#pragma once

#include <memory>
#include <string>

#include "base/redis/settings.h"
#include "tests/support/subscribers.h"

namespace headgate::testing {

std::unique_ptr<Subscriber> subscribe_redis_index(const redis::ClientSettings& settings, const std::string& index);

}  // namespace headgate::testing
