// Whether the user may run commands, asked before they are needed.
#pragma once

#include <span>
#include <stop_token>
#include <string_view>

#include "base/redis/client.h"

namespace headgate::redis {

// In lower case, as ACL SETUSER names it ("xsetid", "xinfo|stream"), and what stands behind the key, in one text. It
// must be a call that the server could carry out: Redis 7.0 crashes when it is asked about one with too few arguments.
struct NeededCommand {
  std::string_view name;
  std::string_view arguments;
};

// Each takes `key` first. None of them is carried out. PERMISSION_DENIED names those that the user may not run and how
// to allow them; OK before Redis 7, which cannot tell. Needs eval. Other failures as Client::command().
Status check_commands(Client& client, std::string_view key, std::span<const NeededCommand> commands,
                      std::stop_token stop);

}  // namespace headgate::redis
