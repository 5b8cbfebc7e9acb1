#include "sinks/redis/stream_position.h"

#include <charconv>

#include "sinks/encoding/cloud_event.h"
#include "sinks/redis/connection.h"

namespace headgate::sinks {
namespace {

// The fields of one entry, or of a reply of alternating names and values.
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

Cursor cursor_in(const redisReply* position) {
  const auto number = [&](std::string_view name) { return number_of(field_of(position, name).value_or("")); };
  Cursor cursor;
  cursor.snap_token = field_of(position, "snap_token").value_or("");
  cursor.xid = number("xid");
  cursor.part = static_cast<uint32_t>(number("part"));
  cursor.more_parts = number("more_parts") != 0;
  cursor.sequence = number("sequence");
  cursor.incarnation = field_of(position, "incarnation").value_or("");
  return cursor;
}

}  // namespace

std::string_view text_of(const redisReply* reply) {
  return reply->type == REDIS_REPLY_STRING || reply->type == REDIS_REPLY_ERROR || reply->type == REDIS_REPLY_STATUS
             ? std::string_view(reply->str, reply->len)
             : std::string_view();
}

void append_look(RespCommands& commands, const StreamKeys& keys) {
  commands.command({"XINFO", "STREAM", keys.stream});
  commands.command({"HGETALL", keys.position});
}

StatusOr<StreamLook> read_look(const redisReply* stream, const redisReply* position) {
  StreamLook look;
  if (stream->type != REDIS_REPLY_ERROR) {
    look.last_id = id_of(field_of(stream, "last-generated-id").value_or(""));
  } else if (text_of(stream).find("no such key") == std::string_view::npos) {
    return status_of_error(text_of(stream));
  }
  if (position->type == REDIS_REPLY_ERROR) return status_of_error(text_of(position));
  look.epoch = number_of(field_of(position, "epoch").value_or(""));
  if (const auto id = field_of(position, "id")) {
    look.position = cursor_in(position);
    look.position_id = id_of(*id);
  }
  return look;
}

std::optional<Cursor> held_of(const StreamLook& look, const redisReply* stream) {
  if (!look.last_id) return std::nullopt;
  if (look.position && look.position_id == *look.last_id) return look.position;
  for (size_t i = 0; i + 1 < stream->elements; i += 2) {
    const redisReply* entry = stream->element[i + 1];
    if (text_of(stream->element[i]) != "last-entry" || entry->elements != 2) continue;
    const auto event = read_back([&](std::string_view name) { return field_of(entry->element[1], name); });
    if (event.ok()) return event->cursor;
  }
  // Somebody else's entry stands behind ours.
  if (look.position && look.position_id < *look.last_id) return look.position;
  return std::nullopt;
}

}  // namespace headgate::sinks
