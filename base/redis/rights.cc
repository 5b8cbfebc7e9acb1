#include "base/redis/rights.h"

#include <vector>

#include "base/refusals.h"

namespace headgate::redis {
namespace {

// ARGV: name and arguments, in turns.
constexpr const char* kScript = R"(
  local denied = {}
  if not redis.acl_check_cmd then return denied end
  for i = 1, #ARGV, 2 do
    local words = {}
    for word in string.gmatch(ARGV[i], '[^|]+') do table.insert(words, word) end
    table.insert(words, KEYS[1])
    for word in string.gmatch(ARGV[i + 1], '%S+') do table.insert(words, word) end
    if not redis.acl_check_cmd(unpack(words)) then table.insert(denied, ARGV[i]) end
  end
  return denied)";

}  // namespace

Status check_commands(Client& client, std::string_view key, std::span<const NeededCommand> commands,
                      std::stop_token stop) {
  std::vector<std::string_view> words{"EVAL", kScript, "1", key};
  for (const NeededCommand& command : commands) words.insert(words.end(), {command.name, command.arguments});
  HG_ASSIGN_OR_RETURN(const Reply reply, client.command(key, words, std::move(stop)));
  if (reply->type != REDIS_REPLY_ARRAY || reply->elements == 0) return ok_status();
  std::string grants;
  for (size_t i = 0; i < reply->elements; ++i) grants += fmt::format(" +{}", text_of(reply->element[i]));
  return with_refusal(status_of(StatusCode::kPermissionDenied,
                                "redis does not allow commands that are needed later; let an administrator run: ACL "
                                "SETUSER {}{} (docs/rights.md)",
                                client.settings().user.empty() ? "default" : client.settings().user, grants),
                      RefusalKind::kRights);
}

}  // namespace headgate::redis
