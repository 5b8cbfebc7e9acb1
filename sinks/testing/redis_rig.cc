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

redis::ClientSettings connection_to(int port) {
  redis::ClientSettings settings;
  settings.port = static_cast<uint16_t>(port);
  settings.command_timeout = Duration(3'000);
  return settings;
}

std::string run_command(TestServer& server, const std::vector<std::string_view>& words) {
  redis::Client client(connection_to(server.port()));
  const auto reply = client.command("", words, {});
  REQUIRE_MESSAGE(reply.ok(), describe(reply.status()));
  if ((*reply)->type == REDIS_REPLY_INTEGER) return std::to_string((*reply)->integer);
  return std::string(redis::text_of(reply->get()));
}

}  // namespace headgate::sinks
