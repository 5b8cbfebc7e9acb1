// Cursors in Redis: one hash per sink, one script per commit that checks the epoch and writes, so both happen or none.
// Durable as Redis is: with appendfsync everysec up to a second of commits may be lost, which repeats events and loses
// none; without persistence a restart of Redis loses the place.
#include <hiredis/hiredis.h>

#include "base/mutex.h"
#include "relay/tokens/fenced.h"
#include "relay/tokens/store_settings.h"

namespace headgate::relay {

namespace {

struct FreeContext {
  void operator()(redisContext* context) const { redisFree(context); }
};
struct FreeReply {
  void operator()(redisReply* reply) const { freeReplyObject(reply); }
};
using Context = std::unique_ptr<redisContext, FreeContext>;
using Reply = std::unique_ptr<redisReply, FreeReply>;

constexpr const char* kAcquire = R"(
  redis.call('HSET', KEYS[1], 'owner', ARGV[1])
  return redis.call('HINCRBY', KEYS[1], 'epoch', 1))";

// KEYS: owner, sinks, cursors of this sink. ARGV: epoch, sink, then pairs of tenant and cursor.
constexpr const char* kCommit = R"(
  if redis.call('HGET', KEYS[1], 'epoch') ~= ARGV[1] then return redis.error_reply('FENCED') end
  redis.call('SADD', KEYS[2], ARGV[2])
  for i = 3, #ARGV, 2 do redis.call('HSET', KEYS[3], ARGV[i], ARGV[i + 1]) end
  return 1)";

// KEYS: owner, cursors of this sink. ARGV: epoch, tenant. All keys share one slot by their hash tag.
constexpr const char* kForget = R"(
  if redis.call('HGET', KEYS[1], 'epoch') ~= ARGV[1] then return redis.error_reply('FENCED') end
  redis.call('HDEL', KEYS[2], ARGV[2])
  return 1)";

constexpr char kSeparator = '\t';

std::string encode(const Cursor& cursor) {
  return fmt::format("{}\t{}\t{}\t{}\t{}\t{}", cursor.xid, cursor.part, cursor.more_parts ? 1 : 0, cursor.sequence,
                     cursor.incarnation, cursor.snap_token);
}

StatusOr<Cursor> decode(const std::string& text) {
  std::vector<std::string> fields;
  size_t begin = 0;
  for (size_t at = text.find(kSeparator); at != std::string::npos; at = text.find(kSeparator, begin)) {
    fields.push_back(text.substr(begin, at - begin));
    begin = at + 1;
  }
  fields.push_back(text.substr(begin));
  try {
    if (fields.size() == 6) {
      return Cursor{fields[5],        std::stoull(fields[0]), static_cast<uint32_t>(std::stoul(fields[1])),
                    fields[2] == "1", std::stoull(fields[3]), fields[4]};
    }
  } catch (const std::exception&) {
  }
  return make_status(StatusCode::kDataLoss, "a cursor in the Redis token store cannot be read");
}

class RedisStore : public TokenStore {
 public:
  RedisStore(const std::string& scope, RedisStoreSettings settings)
      : settings_(std::move(settings)), base_(fmt::format("{}:{{{}}}:relay:", settings_.prefix, scope)) {}

  StatusOr<Fence> acquire(const std::string& owner) override {
    MutexLock lock(mutex_);
    HG_ASSIGN_OR_RETURN(Reply reply, call({"EVAL", kAcquire, "1", owner_key(), owner}));
    return Fence{0, static_cast<uint64_t>(reply->integer)};
  }

  StatusOr<std::map<std::string, Cursor>> load(const std::string& sink) override {
    MutexLock lock(mutex_);
    HG_ASSIGN_OR_RETURN(Reply reply, call({"HGETALL", cursor_prefix() + sink}));
    std::map<std::string, Cursor> cursors;
    for (size_t i = 0; i + 1 < reply->elements; i += 2) {
      const redisReply& key = *reply->element[i];
      const redisReply& value = *reply->element[i + 1];
      HG_ASSIGN_OR_RETURN(cursors[std::string(key.str, key.len)], decode(std::string(value.str, value.len)));
    }
    return cursors;
  }

  Status commit(const std::string& sink, std::span<const CursorUpdate> updates, const Fence& fence) override {
    if (updates.empty()) return ok_status();
    std::vector<std::string> command{
        "EVAL", kCommit, "3", owner_key(), base_ + "sinks", cursor_prefix() + sink, std::to_string(fence.epoch), sink};
    for (const CursorUpdate& update : updates) {
      command.push_back(update.tenant);
      command.push_back(encode(update.cursor));
    }
    MutexLock lock(mutex_);
    return refusal(call(command), fence);
  }

  Status forget(const std::string& sink, const std::string& tenant, const Fence& fence) override {
    MutexLock lock(mutex_);
    return refusal(
        call({"EVAL", kForget, "2", owner_key(), cursor_prefix() + sink, std::to_string(fence.epoch), tenant}), fence);
  }

  Status ping() override {
    MutexLock lock(mutex_);
    // A write, since a replica or a full Redis answers PING as well.
    return call({"HSET", base_ + "ping", "at", "1"}).status();
  }

 private:
  std::string owner_key() const { return base_ + "owner"; }
  std::string cursor_prefix() const { return base_ + "cursors:"; }

  static Status refusal(const StatusOr<Reply>& reply, const Fence& fence) {
    if (reply.ok()) return ok_status();
    return reply.status().code() == StatusCode::kFailedPrecondition ? fenced(fence.epoch) : reply.status();
  }

  timeval timeout() const {
    const auto milliseconds = settings_.timeout.count();
    return {milliseconds / 1000, static_cast<suseconds_t>(milliseconds % 1000 * 1000)};
  }

  StatusOr<Reply> call(const std::vector<std::string>& arguments) REQUIRES_LOCK(mutex_) {
    HG_RETURN_IF_ERROR(connect());
    return send(arguments);
  }

  Status connect() REQUIRES_LOCK(mutex_) {
    if (context_ != nullptr) return ok_status();
    context_.reset(redisConnectWithTimeout(settings_.host.c_str(), settings_.port, timeout()));
    if (context_ == nullptr || context_->err != 0) {
      const std::string reason = context_ == nullptr ? "out of memory" : context_->errstr;
      context_.reset();
      return unavailable("cannot reach the Redis of the token store: {}; check tokens.redis", reason);
    }
    redisSetTimeout(context_.get(), timeout());
    redisEnableKeepAlive(context_.get());
    if (!settings_.password.empty()) {
      std::vector<std::string> auth{"AUTH"};
      if (!settings_.username.empty()) auth.push_back(settings_.username);
      auth.push_back(settings_.password);
      HG_RETURN_IF_ERROR(greet(auth));
    }
    if (settings_.database != 0) return greet({"SELECT", std::to_string(settings_.database)});
    return ok_status();
  }

  Status greet(const std::vector<std::string>& arguments) REQUIRES_LOCK(mutex_) {
    Status status = send(arguments).status();
    if (!status.ok()) context_.reset();
    return status;
  }

  StatusOr<Reply> send(const std::vector<std::string>& arguments) REQUIRES_LOCK(mutex_) {
    std::vector<const char*> texts;
    std::vector<size_t> sizes;
    for (const std::string& argument : arguments) {
      texts.push_back(argument.data());
      sizes.push_back(argument.size());
    }
    Reply reply(static_cast<redisReply*>(
        redisCommandArgv(context_.get(), static_cast<int>(texts.size()), texts.data(), sizes.data())));
    if (reply == nullptr) {
      const std::string reason = context_->errstr;
      context_.reset();
      return unavailable("the connection to the Redis of the token store broke: {}", reason);
    }
    if (reply->type != REDIS_REPLY_ERROR) return reply;
    return refused(std::string(reply->str, reply->len));
  }

  static Status refused(const std::string& text) {
    if (text.find("FENCED") != std::string::npos) return make_status(StatusCode::kFailedPrecondition, text);
    if (text.find("OOM") != std::string::npos || text.find("MISCONF") != std::string::npos) {
      return status_of(StatusCode::kResourceExhausted, "the Redis of the token store is full: {}", text);
    }
    if (text.find("NOAUTH") != std::string::npos || text.find("WRONGPASS") != std::string::npos ||
        text.find("NOPERM") != std::string::npos) {
      return status_of(StatusCode::kPermissionDenied, "the Redis of the token store refuses us: {}", text);
    }
    return unavailable("the Redis of the token store answered: {}", text);
  }

  const RedisStoreSettings settings_;
  const std::string base_;
  Mutex mutex_;
  Context context_ GUARDED_BY(mutex_);
};

}  // namespace

StatusOr<std::unique_ptr<TokenStore>> make_redis_store(const std::string& scope, const RedisStoreSettings& settings) {
  auto store = std::make_unique<RedisStore>(scope, settings);
  HG_RETURN_IF_ERROR(store->ping());
  return store;
}

}  // namespace headgate::relay
