// Looks up the addresses of a name without waiting longer than one may: the system's resolver knows neither a limit of
// the caller's nor a stop token, so it works on a thread of its own that is left behind when it takes too long.
#pragma once

#include <functional>
#include <stop_token>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/status.h"

namespace headgate {

using Lookup = std::function<StatusOr<std::vector<std::string>>(const std::string& name)>;

// getaddrinfo(): addresses as numbers, in its order, each once.
StatusOr<std::vector<std::string>> system_lookup(const std::string& name);

// At least one address. UNAVAILABLE when there is none, when `limit` is over, or when too many look-ups of this process
// are still under way; CANCELLED when stopped. `lookup` must outlast this call by itself, as a plain function does.
StatusOr<std::vector<std::string>> resolve_name(const std::string& name, Duration limit, std::stop_token stop,
                                                Lookup lookup = system_lookup);

// Whether the host of a uri is a name to be looked up: no number, no path of a socket, not empty.
bool is_host_name(const std::string& host);

}  // namespace headgate
