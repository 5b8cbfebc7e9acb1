// What Redis answers: hiredis' replies, owned.
#pragma once

#include <hiredis/hiredis.h>

#include <memory>
#include <string_view>

namespace headgate::redis {

struct ReplyDeleter {
  void operator()(redisReply* reply) const { freeReplyObject(reply); }
};
using Reply = std::unique_ptr<redisReply, ReplyDeleter>;

// The text of a string, a status or an error; else empty.
inline std::string_view text_of(const redisReply* reply) {
  return reply->type == REDIS_REPLY_STRING || reply->type == REDIS_REPLY_ERROR || reply->type == REDIS_REPLY_STATUS
             ? std::string_view(reply->str, reply->len)
             : std::string_view();
}
inline bool is_error(const redisReply* reply) { return reply->type == REDIS_REPLY_ERROR; }
inline bool is_ok(const redisReply* reply) { return reply->type == REDIS_REPLY_STATUS && text_of(reply) == "OK"; }

}  // namespace headgate::redis
