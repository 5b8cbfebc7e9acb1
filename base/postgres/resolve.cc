#include "base/postgres/resolve.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <memory>
#include <optional>
#include <thread>

#include "base/mutex.h"

namespace headgate {
namespace {

// Look-ups that were left behind end by themselves, as the resolver's own limits say (tens of seconds).
constexpr int kUnderWayMax = 64;
std::atomic<int> under_way{0};

struct Answer {
  Mutex mutex;
  Condition came;
  std::optional<StatusOr<std::vector<std::string>>> addresses GUARDED_BY(mutex);
};

}  // namespace

StatusOr<std::vector<std::string>> system_lookup(const std::string& name) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_family = AF_UNSPEC;
  addrinfo* found = nullptr;
  const int code = ::getaddrinfo(name.c_str(), nullptr, &hints, &found);
  if (code != 0) return unavailable("the name '{}' has no address: {}", name, ::gai_strerror(code));
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> owned(found, ::freeaddrinfo);
  std::vector<std::string> addresses;
  for (const addrinfo* one = found; one != nullptr; one = one->ai_next) {
    std::array<char, NI_MAXHOST> text{};
    if (::getnameinfo(one->ai_addr, one->ai_addrlen, text.data(), text.size(), nullptr, 0, NI_NUMERICHOST) != 0) {
      continue;
    }
    if (std::find(addresses.begin(), addresses.end(), text.data()) == addresses.end()) {
      addresses.emplace_back(text.data());
    }
  }
  if (addresses.empty()) return unavailable("the name '{}' has no address", name);
  return addresses;
}

StatusOr<std::vector<std::string>> resolve_name(const std::string& name, Duration limit, std::stop_token stop,
                                                Lookup lookup) {
  if (under_way.fetch_add(1) >= kUnderWayMax) {
    --under_way;
    return unavailable("the name '{}' cannot be looked up: {} look-ups wait for the resolver already", name,
                       kUnderWayMax);
  }
  const auto answer = std::make_shared<Answer>();
  std::thread([answer, name, lookup = std::move(lookup)] {
    auto addresses = lookup(name);
    --under_way;
    MutexLock lock(answer->mutex);
    answer->addresses = std::move(addresses);
    answer->came.notify_all();
  }).detach();
  MutexLock lock(answer->mutex);
  const bool came = answer->came.wait_for(answer->mutex, stop, limit,
                                          [&]() REQUIRES_LOCK(answer->mutex) { return answer->addresses.has_value(); });
  if (came) return *std::move(answer->addresses);
  if (stop.stop_requested()) return make_status(StatusCode::kCancelled, "stopped while a name was looked up");
  return unavailable("the resolver does not answer for the name '{}' within {} ms", name, limit.count());
}

bool is_host_name(const std::string& host) {
  if (host.empty() || host.front() == '/' || host.front() == '@') return false;
  std::array<unsigned char, sizeof(in6_addr)> number{};
  const std::string plain = host.substr(0, host.find('%'));
  return ::inet_pton(AF_INET, host.c_str(), number.data()) != 1 &&
         ::inet_pton(AF_INET6, plain.c_str(), number.data()) != 1;
}

}  // namespace headgate
