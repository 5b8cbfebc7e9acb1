#include "base/redis/errors.h"

#include <array>
#include <charconv>

namespace headgate::redis {
namespace {

bool begins(std::string_view text, std::string_view word) { return text.substr(0, word.size()) == word; }
bool has(std::string_view text, std::string_view part) { return text.find(part) != std::string_view::npos; }

bool speaks_of_rights(std::string_view text) {
  // The last two are how a script and a server without users say it.
  return begins(text, "NOPERM") || begins(text, "NOAUTH") || begins(text, "WRONGPASS") ||
         has(text, "The user executing the script") || has(text, "invalid password") || has(text, "ERR AUTH ");
}

bool names_the_command(std::string_view text) {
  return has(text, "string exceeds maximum allowed size") || has(text, "invalid bulk length") ||
         has(text, "invalid multibulk length") || has(text, "too big bulk") || has(text, "too big mbulk");
}

std::string_view advice_for(std::string_view text) {
  struct Advice {
    std::string_view word;
    std::string_view text;
  };
  static constexpr std::array<Advice, 9> kAdvice = {{
      {"NOPERM", "; give the user the commands and keys that sinks/redis/README.md names (ACL SETUSER)"},
      {"NOAUTH", "; set user and password"},
      {"WRONGPASS", "; check user and password"},
      {"OOM", "; raise maxmemory, or keep less with the sink's max_length"},
      {"MOVED", "; the server is a node of a cluster: set mode: cluster and name some nodes in addresses"},
      {"ASK", "; the server is a node of a cluster: set mode: cluster and name some nodes in addresses"},
      {"CROSSSLOT", "; the keys need one hash tag"},
      {"WRONGTYPE", "; something else stands under this key: move it away, or choose another prefix"},
      {"READONLY", "; this is a replica: with Sentinel set mode: sentinel"},
  }};
  for (const Advice& advice : kAdvice) {
    if (begins(text, advice.word)) return advice.text;
  }
  return {};
}

}  // namespace

Status status_of_error(std::string_view text, std::string_view server) {
  const auto make = [&](StatusCode code, std::string_view how) {
    return status_of(code, "redis at {} {}: {}{}", server, how, text, advice_for(text));
  };
  if (begins(text, "FENCED")) return make(StatusCode::kFailedPrecondition, "has a newer owner");
  if (begins(text, "STORE_LOST")) return make(StatusCode::kDataLoss, "was emptied");
  if (begins(text, "OOM") || begins(text, "MISCONF")) return make(StatusCode::kResourceExhausted, "refuses to write");
  if (speaks_of_rights(text)) return make(StatusCode::kPermissionDenied, "does not allow this");
  if (names_the_command(text)) return make(StatusCode::kInvalidArgument, "cannot take this");
  return make(StatusCode::kUnavailable, "refuses for now");
}

bool speaks_of_place(std::string_view text) {
  for (const std::string_view word : {"MOVED", "ASK ", "READONLY", "MASTERDOWN", "CLUSTERDOWN", "LOADING"}) {
    if (begins(text, word)) return true;
  }
  return false;
}

std::optional<Redirect> redirect_of(std::string_view text) {
  Redirect redirect{begins(text, "ASK "), 0, {}};
  if (!redirect.ask && !begins(text, "MOVED ")) return std::nullopt;
  text.remove_prefix(text.find(' ') + 1);
  const auto [at, error] = std::from_chars(text.data(), text.data() + text.size(), redirect.slot);
  if (error != std::errc() || at == text.data() + text.size() || *at != ' ') return std::nullopt;
  std::string_view place = text.substr(static_cast<size_t>(at + 1 - text.data()));
  // Unlike addresses for people, an IPv6 address has no brackets here, and may be left out.
  const size_t colon = place.rfind(':');
  if (colon == std::string_view::npos) return std::nullopt;
  redirect.to.host = place.substr(0, colon);
  const std::string_view port = place.substr(colon + 1);
  if (std::from_chars(port.data(), port.data() + port.size(), redirect.to.port).ec != std::errc()) return std::nullopt;
  return redirect;
}

}  // namespace headgate::redis
