#include "sinks/redis/stream_position.h"

#include <array>
#include <charconv>

#include "base/redis/errors.h"
#include "sinks/encoding/cloud_event.h"
#include "sinks/redis/stream_script.h"

namespace headgate::sinks {
namespace {

using redis::text_of;

// The parts of a look's reply.
enum LookPart {
  kLastId,
  kBirth,
  kEpoch,
  kIncarnation,
  kXid,
  kPart,
  kMoreParts,
  kSequence,
  kSnapToken,
  kId,
  kIdentity,
  kSnapshot,
  kLookParts
};

// The fields of one entry.
std::optional<std::string> field_of(const redisReply* fields, std::string_view name) {
  for (size_t i = 0; i + 1 < fields->elements; i += 2) {
    if (text_of(fields->element[i]) == name) return std::string(text_of(fields->element[i + 1]));
  }
  return std::nullopt;
}

uint64_t number_of(std::string_view text) {
  uint64_t number = 0;
  std::from_chars(text.data(), text.data() + text.size(), number);
  return number;
}

EntryId id_of(std::string_view text) {
  const size_t dash = text.find('-');
  if (dash == std::string_view::npos) return {};
  return {number_of(text.substr(0, dash)), number_of(text.substr(dash + 1))};
}

// The stream's last entry, when it is an event of ours that has a place.
StatusOr<std::optional<Cursor>> last_entry(const std::string& stream, redis::Client& client, std::stop_token stop) {
  HG_ASSIGN_OR_RETURN(
      const Reply entries,
      client.command(stream, std::array<std::string_view, 6>{"XREVRANGE", stream, "+", "-", "COUNT", "1"}, stop));
  if (entries->elements == 0 || entries->element[0]->elements != 2) return std::optional<Cursor>();
  const redisReply* fields = entries->element[0]->element[1];
  if (field_of(fields, "type") == type_of(EventKind::kHeartbeat)) return std::optional<Cursor>();
  const auto event = read_back([&](std::string_view name) { return field_of(fields, name); });
  return event.ok() ? std::optional(event->cursor) : std::nullopt;
}

}  // namespace

Status raise_ids(const StreamLook& look, const StreamKeys& keys, const Cursor& stored,
                 const std::optional<Cursor>& held, redis::Client& client, std::stop_token stop) {
  const auto text_of_id = [](const EntryId& id) { return fmt::format("{}-{}", id.first, id.second); };
  std::vector<std::string> words{"EVAL",
                                 std::string(kRaiseScript),
                                 "2",
                                 keys.stream,
                                 keys.position,
                                 look.last_id ? text_of_id(*look.last_id) : "",
                                 look.position ? text_of_id(look.position_id) : "",
                                 std::to_string(stored.xid)};
  if (held) {
    const std::pair<const char*, std::string> fields[] = {{"incarnation", held->incarnation},
                                                          {"xid", std::to_string(held->xid)},
                                                          {"part", std::to_string(held->part)},
                                                          {"more_parts", held->more_parts ? "1" : "0"},
                                                          {"sequence", std::to_string(held->sequence)},
                                                          {"snap_token", held->snap_token},
                                                          {"identity", held->identity},
                                                          {"snapshot", held->snapshot}};
    for (const auto& [name, value] : fields) words.insert(words.end(), {name, value});
  }
  const std::vector<std::string_view> arguments(words.begin(), words.end());
  return client.command(keys.stream, arguments, stop).status();
}

StatusOr<std::string> load_script(Connection& connection, std::string_view script, std::stop_token stop) {
  HG_ASSIGN_OR_RETURN(const Reply sha,
                      connection.command(std::array<std::string_view, 3>{"SCRIPT", "LOAD", script}, stop));
  return std::string(text_of(sha.get()));
}

Status LookScript::load(Connection& connection, std::stop_token stop) {
  HG_ASSIGN_OR_RETURN(sha_, load_script(connection, kLookScript, stop));
  return ok_status();
}

std::vector<std::string_view> LookScript::arguments(const StreamKeys& keys) const {
  std::vector<std::string_view> words{"EVALSHA", sha_, keys.shared() ? "3" : "2", keys.stream, keys.position};
  if (keys.shared()) words.emplace_back(keys.birth);
  return words;
}

void LookScript::append(RespCommands& commands, const StreamKeys& keys) const {
  const std::vector<std::string_view> words = arguments(keys);
  commands.begin(words.size());
  for (const std::string_view word : words) commands.argument(word);
}

StatusOr<StreamLook> LookScript::read(const redisReply* reply) {
  if (reply->type != REDIS_REPLY_ARRAY || reply->elements != kLookParts) {
    return unavailable("redis: a look at a stream has an odd answer: {}", text_of(reply));
  }
  const auto part = [&](LookPart which) { return text_of(reply->element[which]); };
  StreamLook look;
  if (!part(kLastId).empty()) look.last_id = id_of(part(kLastId));
  look.epoch = number_of(part(kEpoch));
  if (part(kId).empty()) return look;
  look.position_id = id_of(part(kId));
  look.same_birth = part(kId) == part(kBirth);
  Cursor& cursor = look.position.emplace();
  cursor.snap_token = part(kSnapToken);
  cursor.xid = number_of(part(kXid));
  cursor.part = static_cast<uint32_t>(number_of(part(kPart)));
  cursor.more_parts = number_of(part(kMoreParts)) != 0;
  cursor.sequence = number_of(part(kSequence));
  cursor.incarnation = part(kIncarnation);
  cursor.identity = part(kIdentity);
  cursor.snapshot = part(kSnapshot);
  return look;
}

StatusOr<std::optional<Cursor>> held_of(const StreamLook& look, const StreamKeys& keys, redis::Client& client,
                                        std::stop_token stop) {
  if (!look.last_id) return std::optional<Cursor>();
  if (keys.shared()) return look.position && look.same_birth ? look.position : std::optional<Cursor>();
  if (look.position && look.position_id == *look.last_id) return look.position;
  HG_ASSIGN_OR_RETURN(std::optional<Cursor> entry, last_entry(keys.stream, client, stop));
  // Somebody else's entry may stand behind ours.
  if (!entry && look.position && look.position_id < *look.last_id) return look.position;
  return entry;
}

}  // namespace headgate::sinks
