// What the tests of the Redis sinks share: one server, and commands to it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/redis/client.h"
#include "sinks/redis/redis_sinks.h"
#include "sinks/testing/servers.h"
#include "tests/support/test_main.h"

namespace headgate::sinks {

// One server for all cases of the program; nullptr with a reason when there is none to be had.
TestServer* shared_redis(std::string* reason);
std::string fresh_prefix();
redis::ClientSettings connection_to(int port);
// The reply as text: that of a string, or the number of an integer.
std::string run_command(TestServer& server, const std::vector<std::string_view>& words);

}  // namespace headgate::sinks

#define HG_REDIS(name)                             \
  std::string reason;                              \
  TestServer* const found = shared_redis(&reason); \
  if (found == nullptr) HG_SKIP(reason);           \
  TestServer& name = *found
