#include "sinks/testing/redis_rig.h"

namespace headgate::sinks {

TestServer* shared_redis(std::string* reason) {
  static std::string why;
  static const std::unique_ptr<TestServer> server = start_redis(&why);
  *reason = why;
  return server.get();
}

std::string fresh_prefix() {
  static int number = 0;
  return fmt::format("case{}", ++number);
}

RedisConnectionSettings connection_to(int port) {
  RedisConnectionSettings settings;
  settings.port = static_cast<uint16_t>(port);
  settings.command_timeout = Duration(3'000);
  return settings;
}

std::string run_command(TestServer& server, const std::vector<std::string_view>& words) {
  RedisConnection connection(connection_to(server.port()));
  REQUIRE(connection.open({}).ok());
  const auto reply = connection.command(words, {});
  REQUIRE_MESSAGE(reply.ok(), describe(reply.status()));
  if ((*reply)->type == REDIS_REPLY_INTEGER) return std::to_string((*reply)->integer);
  return (*reply)->str == nullptr ? "" : std::string((*reply)->str, (*reply)->len);
}

}  // namespace headgate::sinks
