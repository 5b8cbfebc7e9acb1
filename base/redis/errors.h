// What an error reply of Redis means, by the table of base/refusals.h.
//
// Nearly all of them speak of the server's state, of rights or of a place in the cluster: another try may succeed, and
// the event that met them is as good as any other. INVALID_ARGUMENT is left to what names the command itself.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/redis/settings.h"

namespace headgate::redis {

// The code of the refusal's kind, UNAVAILABLE for what the table does not know.
// FAILED_PRECONDITION  FENCED (our scripts)
// DATA_LOSS            STORE_LOST (our scripts)
// `server` stands in the text.
Status status_of_error(std::string_view text, std::string_view server);

// The server's role or share of the slots has changed: whoever knows where things are has to ask again.
bool speaks_of_place(std::string_view text);

struct Redirect {
  bool ask = false;  // this command only, behind ASKING; else the slot has moved for good
  uint16_t slot = 0;
  Address to;  // an empty host is the one that was asked
};
// Of "MOVED 3999 127.0.0.1:6381" and "ASK ..."; nothing for other errors.
std::optional<Redirect> redirect_of(std::string_view text);

}  // namespace headgate::redis
