#include "base/redis/errors.h"

#include <charconv>

#include "base/refusals.h"

namespace headgate::redis {
namespace {

bool begins(std::string_view text, std::string_view word) { return text.substr(0, word.size()) == word; }
bool has(std::string_view text, std::string_view part) { return text.find(part) != std::string_view::npos; }

// How scripts put it that run into an error of a command, by the word that the command itself would have used.
std::string_view in_plain_words(std::string_view text) {
  if (has(text, "The user executing the script")) return "NOPERM";
  if (has(text, "invalid password")) return "WRONGPASS";
  return text;
}

// "this user has no permissions to run the 'xadd' command", "... to access one of the keys ...": what would allow it.
std::string grant_in(std::string_view text) {
  constexpr std::string_view kRun = " to run the '";
  if (const size_t at = text.find(kRun); at != std::string_view::npos) {
    const std::string_view name = text.substr(at + kRun.size());
    return fmt::format("; for example: ACL SETUSER USER +{}", name.substr(0, name.find('\'')));
  }
  if (has(text, "channel")) return "; for example: ACL SETUSER USER &PREFIX:*";
  return has(text, "key") ? "; for example: ACL SETUSER USER ~PREFIX:*" : "";
}

std::string_view how_of(RefusalKind kind) {
  switch (kind) {
    case RefusalKind::kRights: return "does not allow this";
    case RefusalKind::kLimit:
    case RefusalKind::kQuota: return "has no room";
    case RefusalKind::kEvent: return "cannot take this";
    default: return "refuses for now";
  }
}

}  // namespace

Status status_of_error(std::string_view text, std::string_view server) {
  const auto make = [&](StatusCode code, std::string_view how, std::string_view help = {}) {
    return status_of(code, "redis at {} {}: {}{}{}", server, how, text, help.empty() ? "" : "; ", help);
  };
  if (begins(text, "FENCED")) return make(StatusCode::kFailedPrecondition, "has a newer owner");
  if (begins(text, "STORE_LOST")) return make(StatusCode::kDataLoss, "was emptied");
  const RefusalRow* row = find_refusal(ServerKind::kRedis, in_plain_words(text));
  if (row == nullptr) return make(StatusCode::kUnavailable, "refuses for now");
  std::string help(row->help);
  if (begins(text, "NOPERM")) help += grant_in(text);
  return with_refusal(make(code_of(row->kind), how_of(row->kind), help), row->kind);
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
